"""What a study is: its parameters, its cells, the tables that a cell leaves behind."""
