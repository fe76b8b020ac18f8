"""A study file from a stranger starts nothing, removes nothing, writes nothing elsewhere."""

import configparser
import re
import subprocess
import sys

import pytest
import yaml
from conftest import ROOT

sys.path.insert(0, str(ROOT / "faults"))
from project import checkout, environment

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
DESCRIBED = {name: stage.get("do", stage) for name, stage in STAGES.items()}


@pytest.mark.parametrize("name", DESCRIBED)
def test_no_command_holds_a_value_of_the_study(name):
    assert re.fullmatch(r"python -m persona_leakage\.pipeline\.\w+", DESCRIBED[name]["cmd"])


@pytest.mark.parametrize("name", [name for name in DESCRIBED if name != "study"])
def test_every_stage_waits_until_the_study_is_found_valid(name):
    assert "outputs/valid" in DESCRIBED[name]["deps"]


def test_the_stage_that_validates_has_no_value_of_the_study_among_its_outputs():
    assert DESCRIBED["study"]["outs"] == [{"outputs/valid": {"cache": False}}]


def test_what_lies_in_outputs_shares_no_bytes_with_the_cache():
    """A hard link would: whoever edits an output would damage the cache, and never notice."""
    config = configparser.ConfigParser()
    config.read(ROOT / ".dvc" / "config")
    assert config["cache"]["type"].strip('"').split(",") == ["reflink", "copy"]


HOSTILE = {
    "a model's name that leads to the catalog": {"model": {"name": "../../catalog"}},
    "a command in a variant": {"variants": ["contrastive; touch pwned #"]},
    "a command in a seed": {"seeds": ["$(touch pwned)"]},
    "a command in the key of an extra cell": {
        "extra_cells": {"x; touch pwned": {"source": "villain", "seed": 1, "variant": "dose_5"}}
    },
    "a study's name that leads elsewhere": {"study": "../catalog"},
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return checkout(tmp_path_factory.mktemp("hostile") / "project", ROOT / "no model")


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_study_costs_nothing_and_starts_nothing(change, project):
    params = yaml.safe_load((project / "params.yaml").read_text())
    name = change.get("model", {}).get("name")
    made = params | (change if name is None else {"model": params["model"] | {"name": name}})
    text = (project / "params.yaml").read_text()
    (project / "params.yaml").write_text(yaml.safe_dump(made))
    done = subprocess.run(
        ["dvc", "repro"], cwd=project, env=environment(), capture_output=True, text=True
    )
    (project / "params.yaml").write_text(text)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr + done.stdout
    status = ["git", "status", "--porcelain"]
    left = subprocess.run(status, cwd=project, capture_output=True, text=True).stdout
    assert left == ""
    assert not list(project.rglob("pwned*"))
    assert not (project / "outputs").exists()
