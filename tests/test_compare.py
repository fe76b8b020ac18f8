from contextlib import suppress
from dataclasses import replace

import pytest
from made import finished, published, tables_of

from persona_leakage.errors import InputError
from persona_leakage.pipeline import compare, foresight, paths, report, sweep
from persona_leakage.pipeline.report import cells_of
from persona_leakage.report.tables import study_tables
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import FolderOrigin
from persona_leakage.study.results import write_cell


@pytest.mark.parametrize("target", ["nowhere", "nowhere/villain-42-contrastive"])
def test_a_study_that_is_not_there_is_named(target, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nothing finished there; name a study or STUDY/CELL"):
        compare.find(target, tmp_path)


def test_an_unknown_mlflow_run_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    with pytest.raises(InputError, match="no analysis among its artifacts"):
        compare.find("0" * 32, tmp_path)


@pytest.fixture
def leave(tmp_path, monkeypatch):
    """Leave a finished cell where ``analyse`` leaves it."""
    monkeypatch.chdir(tmp_path)

    def write(seed, study="made", where="analysis", **how):
        cell = finished(seed, study=study, **how)
        folder = tmp_path / "outputs" / study / where / str(cell.cell)
        folder.mkdir(parents=True)
        write_cell(folder, cell.result, cell.personas, *tables_of(cell))

    return write


def labels(*targets, aside):
    cells = [cell for target in targets for cell in compare.find(target, aside)]
    return {(cell.label, cell.result.seed) for cell in compare.named(cells)}


def test_cells_of_one_setting_bear_the_name_of_their_study(leave, tmp_path):
    leave(42)
    leave(137)
    assert labels("made", aside=tmp_path) == {("made", 42), ("made", 137)}
    assert labels("made/villain-137-contrastive", aside=tmp_path) == {("made", 137)}


def test_leftovers_of_other_settings_are_told_apart(leave, tmp_path):
    leave(42)
    leave(137)
    leave(7, fingerprint="b" * 16)
    assert labels("made", aside=tmp_path) == {
        ("made #aaaaaaaa", 42),
        ("made #aaaaaaaa", 137),
        ("made #bbbbbbbb", 7),
    }


def trained(seed, epochs, run="", **more):
    """Return a cell of a study that was trained for so many epochs, of an MLflow run or on disk."""
    cell = finished(seed, study="made", fingerprint=f"{epochs:016}")
    params = cell.result.params | {"train.epochs": epochs} | more
    result = cell.result.model_copy(update={"params": params})
    return replace(cell, result=result, label=f"made@{run}" if run else "made")


def test_settings_are_named_by_what_they_differ_in_and_no_other_is_a_seed_of_them():
    beside = {"extra_cells.spy-7-contrastive.seed": 7}
    other = trained(7, 2, sources=["spy"], **beside)
    cells = compare.named([trained(42, 1), trained(137, 2), other])
    assert [cell.label for cell in cells] == ["made train.epochs=1", *["made train.epochs=2"] * 2]
    tables = study_tables("made", cells, [], {}, published())
    assert [(group.study, len(group.cells)) for group in tables.groups] == [
        ("made train.epochs=1", 1),
        ("made train.epochs=2", 2),
    ]


def test_runs_of_one_setting_are_seeds_of_each_other_and_a_repetition_is_none():
    runs = [trained(42, 1, "aaaa"), trained(137, 1, "bbbb"), trained(137, 1, "cccc")]
    cells = compare.named([*runs, trained(42, 1)])
    assert [cell.label for cell in cells] == ["made@aaaa", "made", "made@cccc", "made"]
    [group] = study_tables("made", cells, [], {}, published()).groups
    assert [cell.result.seed for cell in group.cells] == [42, 137]


def test_a_cell_beside_a_study_is_named_by_itself_and_is_no_seed_of_the_study(leave, tmp_path):
    leave(42)
    leave(7, where="beside/analysis")
    assert labels("made", aside=tmp_path) == {("made", 42)}
    assert labels("made/villain-7-contrastive", aside=tmp_path) == {("made", 7)}


def test_a_cell_named_twice_is_refused(leave, tmp_path, capsys):
    leave(42)
    with pytest.raises(SystemExit, match="made/villain-42-contrastive: named twice"):
        compare.main(["made", "made"], tmp_path / "report")


def test_a_report_reads_the_cells_of_its_matrix_and_no_leftover(leave, study):
    ours = {"study": study.study, "fingerprint": study.fingerprint()}
    leave(42, **ours)
    leave(7, **ours)  # a seed that the study does not list
    leave(42, **ours, source="comedian")  # nor this source
    leave(137, study=study.study, fingerprint="b" * 16)
    three = study.model_copy(update={"seeds": [42, 137, 256]})
    cells, missing = cells_of(three)
    assert [str(cell.cell) for cell in cells] == ["villain-42-contrastive"]
    assert missing == [
        "villain-137-contrastive (computed with other parameters)",
        "villain-256-contrastive",
    ]


@pytest.mark.parametrize("stage", [foresight, report])
def test_a_stage_leaves_of_the_cells_that_it_reads_those_of_the_matrix_alone(
    stage, leave, study, tmp_path, monkeypatch
):
    """What DVC hashes for it is the same wherever the study is computed."""
    monkeypatch.setattr(stage, "load_study", lambda: study)
    for seed, source in ((42, "villain"), (7, "villain"), (42, "comedian")):
        leave(seed, study=study.study, source=source)
    folder = tmp_path / "outputs" / study.study
    (folder / "analysis" / ".spy-1-contrastive.partial").mkdir()  # somebody computes it just now
    # nothing computed with these parameters: there is nothing to foresee, and none to report
    with suppress(SystemExit):
        stage.main()
    assert [path.name for path in sorted((folder / "analysis").iterdir())] == [
        ".spy-1-contrastive.partial",
        "villain-42-contrastive",
    ]
    aside = folder / "beside" / "analysis"
    assert {path.name for path in aside.iterdir()} == {
        "villain-7-contrastive",
        "comedian-42-contrastive",
    }
    assert (aside / "villain-7-contrastive" / "result.json").exists()


def test_what_a_cell_leaves_lies_apart_when_the_study_does_not_list_it(study):
    listed, other = Cell("villain", 42, "contrastive"), Cell("villain", 7, "contrastive")
    for kind in (paths.contrast, paths.adapter, paths.scores, paths.analysis):
        assert (
            kind(study, listed).parts[:2] == kind(study, other).parts[:2] == ("outputs", "pocket")
        )
        assert "beside" not in kind(study, listed).parts
        assert kind(study, other).parts[2] == "beside"


@pytest.mark.parametrize(
    "text", ["1e-5", "1e-5x", "x3", "1e-5x0", "0x3", "infx3", "nanx3", "2x3", "-1x3"]
)
def test_a_setting_that_is_none_is_named(text):
    with pytest.raises(InputError, match="is no learning rate with epochs; write them as 1e-5x3"):
        sweep.setting(text)


def test_a_sweep_without_settings_tries_those_around_the_studys_own(study):
    assert sweep.around(study.train) == [
        "0.00025x3",
        "0.0005x3",
        "0.001x3",
        "0.00025x6",
        "0.0005x6",
    ]
    tried = [sweep.setting(text).of(study) for text in sweep.around(study.train)]
    assert study.train in [changed.train for changed in tried]


def test_a_setting_changes_the_training_and_takes_one_cell(study):
    tried = sweep.setting("1e-3x6")
    changed = tried.of(study.model_copy(update={"seeds": [1, 2]}))
    assert (changed.train.learning_rate, changed.train.epochs) == (1e-3, 6)
    assert (changed.sources, changed.seeds, changed.variants) == (["villain"], [1], ["contrastive"])
    assert changed.train.lora == study.train.lora
    assert changed.fingerprint() != study.fingerprint()


def test_a_sweep_runs_its_settings_beside_the_project(study, tmp_path, monkeypatch):
    """Every experiment is DVC's own copy of the project, with the settings as given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    monkeypatch.setattr(sweep, "load_study", lambda: study)
    commands = []

    def record(command, **how):
        commands.append(command)
        return type("Done", (), {"stdout": "", "returncode": 0})()

    monkeypatch.setattr(sweep.subprocess, "run", record)
    monkeypatch.setattr(
        sweep,
        "_numbers",
        lambda each, _: (
            {"learning_rate": each.learning_rate, "epochs": each.epochs}
            | dict.fromkeys(sweep.COLUMNS, -1.0)
        ),
    )
    sweep.main(["1e-3x6", "5e-4x3", "1e-3x6"])
    runs = [command for command in commands if "run" in command]
    assert len(runs) == 2  # the same setting is run once
    for command in runs:
        assert "--temp" in command
    assert "train.learning_rate=0.001" in runs[0] and "train.epochs=6" in runs[0]
    folder = paths.report(study).with_name("pocket_sweep")
    rows = (folder / "sweep.csv").read_text().splitlines()
    assert [row.split(",")[:2] for row in rows[1:]] == [["0.0005", "3"], ["0.001", "6"]]
    assert (folder / "sweep.svg").exists() and (folder / "sweep.png").exists()


def test_a_sweep_takes_along_what_only_this_folder_has(study, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    snapshots = {"arc_challenge": "snapshots/arc", "mmlu": "/elsewhere/mmlu", "boolq": "../boolq"}
    questions = study.questions.model_copy(update={"snapshots": snapshots})
    origin = FolderOrigin(kind="folder", path="models/mine")
    model = study.model.model_copy(update={"origin": origin})
    changed = study.model_copy(update={"questions": questions, "model": model})
    assert sweep.untracked(changed) == ["snapshots/arc", "models/mine"]
    assert sweep.untracked(study) == []
