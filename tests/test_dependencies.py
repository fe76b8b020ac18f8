"""dvc.yaml names what each stage is computed from: its code, and every file that it reads."""

import ast
import importlib
import re
from functools import cache
from pathlib import Path

import pytest
import yaml
from conftest import ROOT

from persona_leakage.study.cell import Cell

SOURCE = ROOT / "src"
PACKAGE = "persona_leakage"
STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PIPELINE = {name: stage for name, stage in STAGES.items() if "do" not in stage}


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


def test_extra_cells_go_through_the_stages_of_the_grid():
    extras = {name: stage["do"] for name, stage in STAGES.items() if "do" in stage}
    assert set(extras) == {f"{name}_extra" for name in PIPELINE if "matrix" in PIPELINE[name]}
    for name, stage in extras.items():
        alike = PIPELINE[name.removesuffix("_extra")]
        assert stage == {key: value for key, value in alike.items() if key != "matrix"}


def test_packages_hold_nothing_but_their_reason():
    # so that no stage has to depend on an __init__.py
    for file in (SOURCE / PACKAGE).rglob("__init__.py"):
        statements = ast.parse(file.read_text()).body
        assert all(isinstance(each, ast.Expr | ast.Assign) for each in statements), file


def resolved(path: str) -> str:
    values = {
        "${study}": "small",
        "${model.name}": "tiny",
        "${item.source}-${item.seed}-${item.variant}": "villain-42-contrastive",
    }
    for name, value in values.items():
        path = path.replace(name, value)
    return path


def outputs_of(stage: str) -> list[str]:
    outs = PIPELINE[stage]["outs"]
    return [resolved(out if isinstance(out, str) else next(iter(out))) for out in outs]


def test_a_stage_reads_no_file_that_it_does_not_declare(study_in_small, tmp_path, monkeypatch):
    """Each stage runs in a folder that holds what dvc.yaml lists for it, and nothing else."""
    for stage, described in PIPELINE.items():
        alone = tmp_path / "alone" / stage
        for dep in [*map(resolved, described["deps"]), "params.yaml"]:
            if not dep.startswith("src/"):
                (alone / dep).parent.mkdir(parents=True, exist_ok=True)
                (alone / dep).symlink_to((study_in_small / dep).resolve(strict=True))
        monkeypatch.chdir(alone)
        main = importlib.import_module(described["cmd"].split()[2]).main
        main(*([Cell("villain", 42, "contrastive")] if "matrix" in described else []))
        for out in outputs_of(stage):
            target = study_in_small / out
            target.parent.mkdir(parents=True, exist_ok=True)
            (alone / out).rename(target)
    assert (study_in_small / "reports" / "small" / "report.html").exists()
