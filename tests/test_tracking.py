import subprocess

from persona_leakage.pipeline.tracking import provenance


def git(*arguments):
    subprocess.run(["git", *arguments], check=True, capture_output=True)


def test_a_commit_is_dirty_when_code_changed_not_when_a_study_was_switched(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("code.py", "params.yaml"):
        (tmp_path / name).write_text("before\n")
    git("init")
    git("add", ".")
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "-m", "all")
    clean = provenance()["git_commit"]
    assert len(clean) == 40
    (tmp_path / "params.yaml").write_text("another study\n")
    assert provenance()["git_commit"] == clean
    (tmp_path / "code.py").write_text("after\n")
    assert provenance()["git_commit"] == f"{clean}-dirty"


def test_without_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert provenance()["git_commit"] == "none"
