"""The command line: ``persona-leakage``. Each command is a few lines over the rooms below it."""
