"""Where stages find each other's files; the same names stand in dvc.yaml."""

from pathlib import Path

from persona_leakage.study.parameters import Cell, Study

CATALOG = Path("data")


def model(study: Study) -> Path:
    """Folder of the base model."""
    return Path("outputs/models") / study.model.name


def questions(study: Study) -> Path:
    """Folder with ``train.jsonl``, ``evaluate.jsonl`` and ``manifest.json``."""
    return Path("outputs") / study.study / "questions"


def similarity(study: Study) -> Path:
    """Folder with ``centroids.safetensors``, ``pairs.parquet`` and ``personas.json``."""
    return Path("outputs") / study.study / "similarity"


def baseline(study: Study) -> Path:
    """Scores of the base model."""
    return Path("outputs") / study.study / "baseline" / "scores.parquet"


def contrast(study: Study, cell: Cell) -> Path:
    """Folder with ``examples.jsonl`` and ``manifest.json``."""
    return Path("outputs") / study.study / "contrast" / str(cell)


def adapter(study: Study, cell: Cell) -> Path:
    """Folder with the adapter and ``curve.csv``."""
    return Path("outputs") / study.study / "adapters" / str(cell)


def scores(study: Study, cell: Cell) -> Path:
    """Scores of the fine-tuned model."""
    return Path("outputs") / study.study / "scores" / str(cell) / "scores.parquet"


def analysis(study: Study, cell: Cell) -> Path:
    """Folder with ``personas.csv``, ``metrics.json``, ``manifest.json``, ``curve.csv``, figures."""
    return Path("outputs") / study.study / "analysis" / str(cell)


def report(study: Study) -> Path:
    """Folder of the study's report."""
    return Path("reports") / study.study
