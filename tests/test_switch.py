"""Switching params.yaml: nothing is lost, whatever fails."""

import subprocess
import sys

import pytest
from conftest import ROOT

from persona_leakage.pipeline import switch

PARAMS = (ROOT / "params.yaml").read_text()
PAPER = (ROOT / "studies" / "paper.yaml").read_text()


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A project that git knows, with the parameters of the pocket study."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "studies").symlink_to(ROOT / "studies")
    (tmp_path / "params.yaml").write_text(PARAMS)
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.invalid"]
    for words in (["init", "-q"], ["add", "params.yaml"], [*identity, "commit", "-qm", "all"]):
        subprocess.run(["git", *words], check=True)
    return tmp_path


@pytest.fixture
def dvc(monkeypatch):
    """Stands where DVC does: ends with the code it is given."""
    real, asked = subprocess.run, []

    def run(words, **how):
        if "dvc" not in words:
            return real(words, **how)
        asked.append(words)
        return subprocess.CompletedProcess(words, run.code)

    run.code, run.asked = 0, asked
    monkeypatch.setattr(subprocess, "run", run)
    return run


def test_a_study_is_put_into_the_parameters_and_begun(folder, dvc):
    switch.main("paper", True)
    assert (folder / "params.yaml").read_text() == PAPER
    assert dvc.asked == [[sys.executable, "-m", "dvc", "repro", "base", "questions"]]
    assert not (folder / "params.before.yaml").exists()


def test_a_study_that_cannot_be_begun_leaves_the_parameters_as_they_were(folder, dvc, capsys):
    dvc.code = 1
    with pytest.raises(SystemExit):
        switch.main("paper", True)
    assert (folder / "params.yaml").read_text() == PARAMS
    assert capsys.readouterr().err == "params.yaml is as it was before\n"


def test_without_a_name_it_goes_back_to_what_git_has(folder, dvc):
    switch.main("paper", True)
    switch.main(None, True)
    assert (folder / "params.yaml").read_text() == PARAMS


def test_parameters_that_stand_nowhere_else_are_kept(folder, dvc, capsys):
    edited = PARAMS.replace("epochs: 3", "epochs: 4")
    (folder / "params.yaml").write_text(edited)
    switch.main("paper", False)
    assert (folder / "params.before.yaml").read_text() == edited
    assert "it is kept as params.before.yaml" in capsys.readouterr().out
    assert dvc.asked == []


@pytest.mark.parametrize(
    ("name", "told"),
    [("papr", "did you mean paper\\? studies/ has hella"), ("zzz", "studies/ has")],
)
def test_a_study_that_is_not_there_is_named_with_those_that_are(folder, dvc, name, told):
    with pytest.raises(SystemExit, match=f"^error: study {name}: {told}"):
        switch.main(name, True)
    assert (folder / "params.yaml").read_text() == PARAMS
    assert dvc.asked == []


def test_make_alone_says_what_there_is_and_starts_nothing(tmp_path):
    done = subprocess.run(["make", "-C", str(ROOT)], capture_output=True, text=True, check=True)
    helped = subprocess.run(["make", "-C", str(ROOT), "help"], capture_output=True, text=True)
    assert done.stdout == helped.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("  ")]
    named = {line.split()[0] for line in lines}
    phony = next(
        line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY")
    )
    assert named == set(phony.split()[1:]) - {"help"}


def test_the_study_that_git_has_can_be_named(folder, dvc):
    switch.main("paper", True)
    switch.main("pocket", True)
    assert (folder / "params.yaml").read_text() == PARAMS
