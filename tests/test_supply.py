"""What the project is made of: hashes, licences, nothing unpickled, no secret in a log."""

import ast
import re
import sys
import tomllib
from importlib import metadata

import pytest
from conftest import ROOT

from persona_leakage.pipeline.tracking import cell_run
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study

sys.path.insert(0, str(ROOT / "faults"))
from audit import concerns

LOCK = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
# strong copyleft, looked at one by one: the linters of a licence stop at the name
COPYLEFT = re.compile(r"\b(A?GPL|General Public License)", re.IGNORECASE)
LOOKED_AT = {
    "grandalf": "or EPL; draws `dvc dag`",
    "pygit2": "with an exception for linking; git for DVC",
    "dulwich": "or Apache-2.0; git for DVC",
}
# say nothing in their metadata: NVIDIA's own; MIT; MIT, with axe-core in it, which is MPL-2.0
SILENT = {"cuda-toolkit", "huey", "axe-playwright-python"}
SECRET = "correct-horse-battery"


def test_every_package_of_the_lock_has_a_hash_and_comes_from_a_registry():
    for package in LOCK["package"]:
        if package["name"] == "persona-leakage":
            continue
        assert "registry" in package["source"], package["name"]
        files = [*package.get("wheels", []), *([package["sdist"]] if "sdist" in package else [])]
        assert files, package["name"]
        assert all(file["hash"].startswith("sha256:") for file in files), package["name"]


def licence(name):
    told = metadata.metadata(name)
    classes = [
        line.split("::")[-1].strip()
        for line in told.get_all("Classifier") or []
        if line.startswith("License ::")
    ]
    first = (told.get("License") or "").partition("\n")[0]
    return told.get("License-Expression") or "; ".join(classes) or first


def test_every_package_says_its_licence_and_none_is_copyleft_unseen():
    installed = {each.name.lower().replace("_", "-") for each in metadata.distributions()}
    for name in sorted({package["name"] for package in LOCK["package"]} & installed):
        if name == "persona-leakage":
            continue
        said = licence(name)
        assert said or name in SILENT, f"{name} states no licence"
        if COPYLEFT.search(said) and "Lesser" not in said and "LGPL" not in said:
            assert name in LOOKED_AT, f"{name}: {said}; read it, then name it here"


FORBIDDEN_MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}


@pytest.mark.parametrize("file", sorted((ROOT / "src").rglob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_unpickled_and_no_text_is_run(file):
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name.partition(".")[0] for alias in node.names}
            names.add((getattr(node, "module", None) or "").partition(".")[0])
            assert not names & FORBIDDEN_MODULES
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in FORBIDDEN_CALLS
            assert called not in ("torch.load", "yaml.load", "yaml.unsafe_load", "os.system")
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert keywords.get("shell") != "True"
            assert keywords.get("allow_pickle") != "True"
            assert keywords.get("trust_remote_code") != "True"


def test_weights_come_with_a_hash_or_a_commit():
    for path in [ROOT / "params.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]:
        origin = load_study(path).model.origin
        assert getattr(origin, "sha256", None) or getattr(origin, "revision", None), path


@pytest.mark.parametrize("uri", ["http://user:{}@127.0.0.1:9/x", "sqlite:///{}/mlflow.db"])
def test_a_secret_is_in_no_log_and_in_no_run(uri, study, tmp_path, monkeypatch, capfd):
    """In the address of a server that is down, and in the environment of a store that works."""
    monkeypatch.chdir(tmp_path)
    down = uri.startswith("http")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri.format(SECRET if down else tmp_path))
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    for name in ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN", "AWS_SECRET_KEY"):
        monkeypatch.setenv(name, SECRET)
    with cell_run(study, Cell("villain", 42, "contrastive")) as run:
        run.log_metrics({"source_delta": -1.0})
        (tmp_path / "folder").mkdir()
        (tmp_path / "folder" / "file").write_text("x")
        run.log_folder(tmp_path / "folder", "analysis")
    said = "".join(capfd.readouterr())
    assert SECRET not in said
    assert ("MLflow failed" in said) == down
    for file in tmp_path.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file


@pytest.mark.parametrize(
    ("version", "held"), [("1.0", True), ("1.4", True), ("1.5", False), ("2.1", True), ("3", False)]
)
def test_an_advisory_concerns_the_versions_that_it_names_and_those_of_its_ranges(version, held):
    advisory = {
        "affected": [
            {
                "package": {"ecosystem": "PyPI", "name": "Some_Package"},
                "ranges": [
                    {"type": "GIT", "events": [{"introduced": "0"}]},
                    {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.5"}]},
                ],
                "versions": ["2.1"],
            }
        ]
    }
    assert concerns(advisory, "some-package", version) == held
    assert not concerns(advisory, "another", version)
    assert not concerns(advisory | {"withdrawn": "2026-01-01T00:00:00Z"}, "some-package", version)
