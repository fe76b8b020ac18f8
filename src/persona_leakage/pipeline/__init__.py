"""From parameters to results: one thin script a DVC stage, and where each puts its files."""
