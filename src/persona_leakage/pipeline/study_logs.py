"""What the run of a study holds: the report, and what it says in a few numbers."""

from pydantic import BaseModel

from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_as, read_json
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.tracking import StudyRun
from persona_leakage.study.parameters import Study


class Said(BaseModel):
    """The verdict of a report.

    Attributes
    ----------
    answer, confidence : str
        A word each.
    in_words : str
        Two sentences.
    """

    answer: str
    confidence: str
    in_words: str


class Concluded(BaseModel):
    """A summary, as far as a reader of the verdict alone needs it.

    Attributes
    ----------
    verdict : Said
        Of the report.
    """

    verdict: Said


def is_of(study: Study) -> bool:
    """Tell whether the report that is there is of these very parameters.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    """
    try:
        cells: list[Record] = read_json(paths.report(study) / "summary.json")["cells"]
    except InputError:
        return False
    return {cell["fingerprint"] for cell in cells} == {study.fingerprint()}


def log_report(run: StudyRun, study: Study) -> None:
    """Log the report: its folder, its numbers, its answer.

    Parameters
    ----------
    run : StudyRun
        Of the study.
    study : Study
        Whose report has been written.
    """
    folder = paths.report(study)
    verdict = read_as(folder / "summary.json", Concluded).verdict
    # apart from the numbers of cells, whose charts they would join
    numbers: Record = read_json(folder / "metrics.json")
    run.log_metrics(
        {f"study/{name}": value for name, value in numbers.items() if value is not None}
    )
    run.log_tags(
        {
            "answer": verdict.answer,
            "confidence": verdict.confidence,
            "mlflow.note.content": (
                f"**{verdict.answer}**, confidence {verdict.confidence}. "
                f"{verdict.in_words}\n\nThe report: *Artifacts*, `report/report.html`."
            ),
        }
    )
    run.log_folder(folder, "report")
