import pytest

from persona_leakage.errors import InputError
from persona_leakage.pipeline import compare


@pytest.mark.parametrize("target", ["nowhere", "nowhere/villain-42-contrastive"])
def test_a_study_that_is_not_there_is_named(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nothing finished there; name a study or STUDY/CELL"):
        compare.find(target, tmp_path)


def test_an_unknown_mlflow_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(InputError, match="no analysis among its artifacts"):
        compare.find("0" * 32, tmp_path)
