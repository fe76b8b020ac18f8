"""What README.md and docs tell a user to type is there to be typed."""

import importlib.util
import re
import subprocess

import pytest
import yaml
from conftest import ROOT

from persona_leakage.data.catalog import load_personas

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def typed(page):
    """The commands of a page: what stands in code spans and in indented or fenced blocks."""
    text = page.read_text()
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.M | re.S) + re.findall(
        r"^ {4}(.+)", text, re.M
    )
    return "\n".join([*blocks, *re.findall(r"`([^`\n]+)`", text)])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_target_of_make_that_a_page_names_is_there(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    assert set(re.findall(r"\bmake ([a-z-]+)", typed(page))) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_module_that_a_page_runs_is_there(page):
    for name in re.findall(r"python -m (persona_leakage[\w.]*)", typed(page)):
        assert importlib.util.find_spec(name), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_study_that_a_page_names_is_there(page):
    for name in re.findall(r"\bSTUDY=(\w+)", typed(page)):
        assert (ROOT / "studies" / f"{name}.yaml").exists(), name
    for name in re.findall(r"make kept STUDY=(\w+)", typed(page)):
        assert (ROOT / "kept" / name / "baseline.parquet").exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_stage_that_a_page_reproduces_is_there(page):
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    for words in re.findall(r"dvc repro ([\w@ -]+)", typed(page)):
        named = [word for word in words.split() if not word.startswith("-")]
        assert {word.partition("@")[0] for word in named} <= stages.keys(), words


def test_a_setting_that_a_page_changes_is_a_parameter():
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    found = [name for page in PAGES for name in re.findall(r"-S ([\w.]+)=", typed(page))]
    assert found
    for name in found:
        inside = params
        for key in name.split("."):
            inside = inside[key]


WHO = re.compile(r"persona-leakage (?:show|ask|near|predict) ([a-z]\w*)")


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "src/persona_leakage/cli/app.py"], ids=lambda page: page.name
)
def test_whoever_is_named_on_the_command_line_is_in_the_catalog(page):
    text = page.read_text() if page.suffix == ".py" else typed(page)
    assert set(WHO.findall(text)) <= load_personas(ROOT / "catalog").keys()


@pytest.mark.parametrize("target", [".venv/ready", "setup-cpu"])
def test_a_uv_that_setup_brings_in_is_found_inside_the_environment(target):
    """``mlflow run --env-manager=uv`` looks for it on the path."""
    command = ["make", "--dry-run", "--always-make", target, "UV=.uv/bin/uv"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "ln -sf ../../.uv/bin/uv .venv/bin/uv" in told
