"""Where stages find each other's files; the same names stand in dvc.yaml.

A cell that the study does not list, which ``mlflow run`` may compute, lies apart, in the folder
``beside`` of the study: what the report depends on is the study's alone.
"""

from pathlib import Path

from persona_leakage.files import whole
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study

CATALOG = Path("data")
AUTHORED = Path("catalog")  # what ``CATALOG`` is a copy of; a fresh clone has none yet
BESIDE = "beside"
VALID = Path("outputs/valid")


def model(study: Study) -> Path:
    """Folder of the base model.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs/models") / study.model.name


def questions(study: Study) -> Path:
    """Folder with ``train.jsonl``, ``evaluate.jsonl`` and ``manifest.json``.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "questions"


def personas(study: Study) -> Path:
    """File of who takes part, as records, and of the names of those measured.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "personas.json"


def centroids(study: Study) -> Path:
    """Folder with ``centroids.safetensors``, ``manifest.json`` and ``rendered.json``.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "centroids"


def rendered(study: Study) -> Path:
    """File of what the chat template writes for each who takes part.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return centroids(study) / "rendered.json"


def pairs(study: Study) -> Path:
    """Table of the similarity of every pair of personas at every layer.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "pairs.parquet"


def predictors(study: Study) -> Path:
    """Folder of what the base model says before training: see ``pipeline.predictors``.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "predictors"


def foresight(study: Study) -> Path:
    """Folder of how well the damage was foreseen, and of ``predictions`` by source.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "foresight"


def evaluated(study: Study) -> Path:
    """File of who is evaluated, as records, and of their names by source.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "evaluated.json"


def baseline(study: Study) -> Path:
    """Folder with the scores of the base model, one file per persona.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "baseline"


def contrast(study: Study, cell: Cell) -> Path:
    """Folder with ``examples.jsonl`` and ``manifest.json``.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Any.
    """
    return _of_cell(study, cell, "contrast")


def adapter(study: Study, cell: Cell) -> Path:
    """Folder with the adapter and ``curve.csv``.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Any.
    """
    return _of_cell(study, cell, "adapters")


def checkpoints(study: Study, cell: Cell) -> Path:
    """Folder of what a training that was stopped goes on from; gone once the cell is scored.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        One of it.
    """
    return Path("outputs") / study.study / "checkpoints" / str(cell)


def scores(study: Study, cell: Cell) -> Path:
    """Folder with the scores of the fine-tuned model, one file per persona.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Any.
    """
    return _of_cell(study, cell, "scores")


def analysis(study: Study, cell: Cell) -> Path:
    """Folder with ``personas.csv``, ``metrics.json``, ``manifest.json``, ``curve.csv``, figures.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Any.
    """
    return _of_cell(study, cell, "analysis")


def analyses(study: Study) -> Path:
    """Folder of the analyses of the study's cells.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("outputs") / study.study / "analysis"


def set_aside(study: Study) -> None:
    """Move the analyses of cells that the study no longer lists to those beside it.

    DVC leaves what a shorter list of sources or seeds no longer makes, and takes the hash of the
    folder as a whole: unless each stage that reads the folder calls this, the lock holds whatever
    a machine happened to have.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    """
    folder = analyses(study)
    listed = {str(cell) for cell in study.cells}
    for left in sorted(folder.glob("*")):
        if left.name not in listed and not left.name.startswith("."):  # half-written
            with whole(folder.parent / BESIDE / "analysis" / left.name) as partial:
                left.rename(partial)


def kept(study: Study) -> Path:
    """Folder in git with what only a GPU could compute again, where it is kept.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("kept") / study.study


def _of_cell(study: Study, cell: Cell, kind: str) -> Path:
    folder = Path("outputs") / study.study
    return (folder if cell in study.cells else folder / BESIDE) / kind / str(cell)


def report(study: Study) -> Path:
    """Folder of the study's report.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return Path("reports") / study.study
