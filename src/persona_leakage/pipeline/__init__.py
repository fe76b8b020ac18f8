"""From parameters to results: one thin script per DVC stage, and where each puts its files."""
