"""The benchmarks are run by hand, seldom: what they call has to be there on any other day, too."""

import ast
import importlib
import inspect
import sys

import pytest
from conftest import ROOT

FOLDER = ROOT / "benchmarks"
ELSEWHERE = {"with_unsloth"}  # runs where its library is, and calls nothing of the project
FILES = sorted({file.stem for file in FOLDER.glob("*.py")} - ELSEWHERE)
COMMANDS = [
    "against_vllm",
    "full_size",
    "gpu_steps",
    "pocket",
    "processor_scoring",
    "processor_training",
    "several_gpus",
    "starts",
    "study_on_gpu",
]


@pytest.fixture
def script(monkeypatch):
    """Import a benchmark as its neighbours import it, and forget it afterwards."""
    monkeypatch.syspath_prepend(FOLDER)
    yield importlib.import_module
    for name in FILES:
        sys.modules.pop(name, None)


def bound(node: ast.expr, names: dict):
    """What a name, or a name in a module, stands for; none for anything else."""
    if isinstance(node, ast.Name):
        return names.get(node.id)
    if isinstance(node, ast.Attribute) and inspect.ismodule(module := bound(node.value, names)):
        return getattr(module, node.attr)  # an error where the module has no such name
    return None


def misfits(source: str, names: dict) -> list[str]:
    """Calls of the project's functions and classes whose arguments those do not take."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        called = bound(node.func, names)
        if not getattr(called, "__module__", "").startswith(("persona_leakage", *FILES)):
            continue
        given = [argument for argument in node.args if not isinstance(argument, ast.Starred)]
        named = {keyword.arg: None for keyword in node.keywords if keyword.arg}
        signature = inspect.signature(called)
        whole = len(given) == len(node.args) and len(named) == len(node.keywords)
        try:
            (signature.bind if whole else signature.bind_partial)(*given, **named)
        except TypeError as error:
            found.append(f"line {node.lineno}, {called.__name__}: {error}")
    return found


@pytest.mark.parametrize("name", FILES)
def test_a_benchmark_calls_the_project_with_arguments_that_it_takes(script, name):
    module = script(name)
    assert misfits((FOLDER / f"{name}.py").read_text(), vars(module)) == []


def test_a_call_with_an_argument_too_many_or_of_another_name_is_a_misfit(script):
    names = vars(script("processor_scoring"))
    assert misfits("split(benchmark, 0.5, 42)", names) == []
    assert len(misfits("split(benchmark, 0.5, 42, 1)", names)) == 1
    assert len(misfits("items(tokenizer, systems, questions, scoring='label')", names)) == 1
    assert len(misfits("Taught(score='label')", names)) == 1


@pytest.mark.parametrize("name", COMMANDS)
def test_a_benchmark_says_how_it_is_run(script, name, monkeypatch, capsys):
    module = script(name)
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit, match="0"):
        module.main()
    assert "output" in capsys.readouterr().out


def test_the_page_of_performance_holds_what_was_measured(script, monkeypatch, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "performance").symlink_to(ROOT / "docs" / "performance")
    monkeypatch.chdir(tmp_path)
    script("render").main()
    written = (tmp_path / "docs" / "performance.md").read_text()
    assert written == (ROOT / "docs" / "performance.md").read_text()
