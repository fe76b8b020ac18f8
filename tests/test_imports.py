"""What needs no model starts without the libraries of models, which take seconds to import."""

import subprocess
import sys

HEAVY = ("torch", "transformers", "peft", "trl", "datasets", "mlflow", "matplotlib")
WITHOUT_A_MODEL = (
    "study cost questions personas geometry evaluated analyse foresight report results switch"
)


def imported(code: str) -> list[str]:
    """The heavy libraries that a fresh interpreter has after this code, one line per module."""
    watch = f"import sys\nheavy = {HEAVY}\n{code}"
    done = subprocess.run([sys.executable, "-c", watch], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_stages_without_a_model_import_no_library_of_models():
    """One interpreter for all: it names the first module that brings one in."""
    seen = imported(
        "import importlib\n"
        f"for name in {WITHOUT_A_MODEL.split()}:\n"
        "    importlib.import_module(f'persona_leakage.pipeline.{name}')\n"
        "    if found := [each for each in heavy if each in sys.modules]:\n"
        "        print(name, *found)\n"
        "        break\n"
    )
    assert seen == []


def test_the_watch_sees_what_is_imported():
    assert imported("import mlflow\nprint(*[each for each in heavy if each in sys.modules])") != []
