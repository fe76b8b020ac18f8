"""Write what a study concluded."""

from importlib.metadata import version
from pathlib import Path

from persona_leakage.errors import InputError, command
from persona_leakage.files import Record, read_json, sha256
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.weights import weights_of
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.study.results import FinishedCell, read_cell

LIBRARIES = ("torch", "transformers", "peft", "trl", "datasets", "mlflow", "dvc")


@command
def main() -> None:
    """Write the tables, figures, ``report.html``, ``report.md`` and ``summary.json``."""
    study = load_study()
    paths.set_aside(study)
    cells, missing = cells_of(study)
    if not cells:
        raise InputError(f"outputs/{study.study}: no finished cell; run `dvc repro analyse`")
    # here, since a study without a cell is told of before scipy's statistics are there
    from persona_leakage.report.write import write_report

    foresight = paths.foresight(study)
    write_report(
        paths.report(study),
        study.study,
        cells,
        missing,
        origins(study),
        foresight if foresight.exists() else None,
    )
    # with these comes MLflow
    from persona_leakage.pipeline.study_logs import log_report
    from persona_leakage.pipeline.tracking import study_run

    with study_run(study) as run:
        log_report(run, study)


def cells_of(study: Study) -> tuple[list[FinishedCell], list[str]]:
    """Read the cells of the study, and no other that may lie beside them.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.

    Returns
    -------
    cells : list of FinishedCell
        Those computed with these very parameters.
    missing : list of str
        The names of the others; one of other parameters says so.
    """
    cells, missing = [], []
    for cell in study.cells:
        finished = read_cell(paths.analysis(study, cell))
        if finished is None:
            missing.append(str(cell))
        elif finished.result.fingerprint != study.fingerprint():
            missing.append(f"{cell} (computed with other parameters)")
        else:
            cells.append(finished)
    return cells, missing


def origins(study: Study) -> Record:
    """Hashes of everything the study's numbers come from: code, parameters, data, weights.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    """
    from persona_leakage.pipeline.tracking import provenance  # with it comes MLflow

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
    computed = {"precision": precision_of(study)}
    return {**provenance(), "libraries": libraries, **computed, **hashes}


def precision_of(study: Study) -> str:
    """State the precision that was computed with, and the one that was asked for.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``, measured.
    """
    asked = study.model.precision  # is what was computed with, unless it was left open
    unsaid = "not recorded" if asked == "auto" else asked
    served = read_json(paths.centroids(study) / "manifest.json").get("precision", unsaid)
    return f"{served} (model.precision: {asked})"


if __name__ == "__main__":
    main()
