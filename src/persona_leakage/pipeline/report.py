"""Write what a study concluded."""

from importlib.metadata import version
from itertools import product
from pathlib import Path

from persona_leakage.errors import InputError, command
from persona_leakage.files import Record, sha256
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.tracking import provenance
from persona_leakage.pipeline.weights import weights_of
from persona_leakage.report.conclusion import read_finished
from persona_leakage.report.folder import write_report
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study, load_study

LIBRARIES = ("torch", "transformers", "peft", "trl", "datasets", "mlflow", "dvc")


@command
def main() -> None:
    """Write the tables, figures, ``report.html``, ``report.md`` and ``summary.json``."""
    study = load_study()
    cells, missing = [], []
    for source, seed, variant in product(study.sources, study.seeds, study.variants):
        cell = Cell(source, seed, variant)
        finished = read_finished(paths.analysis(study, cell))
        if finished is None:
            missing.append(str(cell))
        else:
            cells.append(finished)
    if not cells:
        raise InputError(f"outputs/{study.study}: no finished cell; run `dvc repro analyse`")
    write_report(paths.report(study), study.study, cells, missing, origins(study))


def origins(study: Study) -> Record:
    """Hashes of everything the study's numbers come from: code, parameters, data, weights."""
    files = {
        "params.yaml": Path("params.yaml"),
        "personas": paths.personas(study),
        "training questions": paths.questions(study) / "train.jsonl",
        "eval questions": paths.questions(study) / "evaluate.jsonl",
        "centroids": paths.centroids(study) / "centroids.safetensors",
    }
    hashes = {f"{name}, SHA-256": sha256(path) for name, path in files.items()}
    hashes |= {
        f"{name}, SHA-256": digest for name, digest in weights_of(paths.model(study)).items()
    }
    libraries = ", ".join(f"{name} {version(name)}" for name in LIBRARIES)
    return {**provenance(), "libraries": libraries, **hashes}


if __name__ == "__main__":
    main()
