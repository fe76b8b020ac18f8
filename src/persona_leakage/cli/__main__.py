"""``python -m persona_leakage.cli``, where the package is not installed."""

from persona_leakage.cli.app import app

app(prog_name="persona-leakage")
