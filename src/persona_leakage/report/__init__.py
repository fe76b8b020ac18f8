"""What a study concluded: its tables, verdict, figures and pages."""
