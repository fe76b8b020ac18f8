"""dvc.yaml names what each stage is computed from: its code, and every file that it reads."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

SOURCE = ROOT / "src"
PACKAGE = "persona_leakage"
PIPELINE = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]


def module_file(name: str) -> Path | None:
    file = SOURCE.joinpath(*name.split(".")).with_suffix(".py")
    return file if file.exists() else None


@cache
def imports(file: Path) -> frozenset[Path]:
    """Files of the package's modules that this one imports anywhere, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    files = {module_file(name) for name in names if name.startswith(PACKAGE)}
    return frozenset(file for file in files if file)


def closure(file: Path) -> set[Path]:
    """The module and everything of the package that it imports, directly or not."""
    reached, waiting = set(), [file]
    while waiting:
        current = waiting.pop()
        if current not in reached:
            reached.add(current)
            waiting += imports(current)
    return reached


def code_of(stage: str) -> set[str]:
    module = re.search(r"python -m (\S+)", PIPELINE[stage]["cmd"])[1]
    return {str(file.relative_to(ROOT)) for file in closure(module_file(module))}


@pytest.mark.parametrize("stage", PIPELINE)
def test_a_stage_depends_on_all_the_code_that_it_runs(stage):
    declared = {dep for dep in PIPELINE[stage]["deps"] if dep.startswith("src/")}
    data = {dep for dep in declared if not dep.endswith(".py") or "${" in dep}
    assert sorted(declared - data) == sorted(code_of(stage)), (
        f"dvc.yaml, stage {stage}: its deps under src/ must be the modules it imports"
    )
    if any("behaviours/behaviour.py" in dep for dep in declared):
        # imported by the name that the parameters give
        assert "src/persona_leakage/behaviours/${behaviour.name}.py" in declared


def test_packages_hold_nothing_but_their_reason():
    # so that no stage has to depend on an __init__.py
    for file in (SOURCE / PACKAGE).rglob("__init__.py"):
        statements = ast.parse(file.read_text()).body
        assert all(isinstance(each, ast.Expr | ast.Assign) for each in statements), file
