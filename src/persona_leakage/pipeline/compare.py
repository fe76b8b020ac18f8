"""Several studies, cells or MLflow runs in one report, side by side.

    python -m persona_leakage.pipeline.compare pocket pocket_seeds/villain-137-contrastive RUN_ID

Each argument is a study that ``dvc repro`` has computed here, one cell of it, or the id of an
MLflow run. The report is the one of a study; where studies differ, it says in what. Only cells of
the same parameters are seeds of each other.
"""

import argparse
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException

from persona_leakage.errors import InputError, command
from persona_leakage.files import scratch
from persona_leakage.pipeline.paths import BESIDE
from persona_leakage.pipeline.tracking import provenance, use_store
from persona_leakage.report.page import differing
from persona_leakage.report.write import write_report
from persona_leakage.study.parameters import WHICH_CELLS
from persona_leakage.study.results import FinishedCell, read_cell

OUTPUTS = Path("outputs")
MOST_NAMED = 3  # parameters that a label holds
WORD = re.compile(r"[\w.+-]+=[\w.+-]+")


def find(target: str, aside: Path) -> list[FinishedCell]:
    """Resolve a study, ``STUDY/CELL`` or MLflow run id to its finished cells, labelled by study.

    A run's label is its study with the beginning of its id. Of the cells beside a study, those that
    it does not list, each is named by itself.

    Parameters
    ----------
    target : str
        As the user named it.
    aside : Path
        An existing folder, for what is downloaded; it must outlive the cells.

    Raises
    ------
    InputError
        There is no such thing here, or nothing of it is finished.
    """
    if re.fullmatch(r"[0-9a-f]{32}", target):
        return [_from_mlflow(target, aside)]
    study, _, cell = target.partition("/")
    folder = OUTPUTS / study / "analysis"
    named = [folder / cell, OUTPUTS / study / BESIDE / "analysis" / cell]
    read = [read_cell(each) for each in (named if cell else sorted(folder.glob("*")))]
    cells = [finished for finished in read if finished]
    if not cells:
        raise InputError(
            f"{folder / cell}: nothing finished there; name a study or STUDY/CELL that `dvc repro` "
            "has computed, or the id of an MLflow run"
        )
    return cells


def _from_mlflow(run_id: str, aside: Path) -> FinishedCell:
    use_store()
    try:
        folder = mlflow.artifacts.download_artifacts(
            run_id=run_id, artifact_path="analysis", dst_path=str(aside / run_id)
        )
    except (MlflowException, OSError) as error:
        raise InputError(
            f"MLflow run {run_id}: no analysis among its artifacts; `mlflow ui` shows the runs "
            "there are"
        ) from error
    finished = read_cell(Path(folder))
    if finished is None:
        raise InputError(f"MLflow run {run_id}: its analysis is not finished")
    return replace(finished, label=f"{finished.result.study}@{run_id[:8]}")


def named(cells: Sequence[FinishedCell]) -> list[FinishedCell]:
    """Label cells by their study and, where it stands there with several settings, by those.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Of ``find``.

    Returns
    -------
    list of FinishedCell
        In their order. ``label`` is the study, followed by the parameters that its settings differ
        in, as ``dvc exp run -S`` takes them; by the beginning of the fingerprint where these are
        more than ``MOST_NAMED`` or no single words. A run that repeats a cell of the same
        parameters, on disk or of a run before it, keeps the beginning of its id.
    """
    labels: dict[tuple[str, str], str] = {}
    for study in {each.result.study for each in cells}:
        settings = {
            each.result.fingerprint: each.result.params
            for each in cells
            if each.result.study == study
        }
        keys = [key for key in differing(settings) if key.partition(".")[0] not in WHICH_CELLS]
        for fingerprint, params in settings.items():
            words = [f"{key}={params.get(key, '')}" for key in keys]
            if not 0 < len(words) <= MOST_NAMED or not all(map(WORD.fullmatch, words)):
                words = [f"#{fingerprint[:8]}"]
            words = words if len(settings) > 1 else []
            labels[study, fingerprint] = " ".join([study, *words])
    seen: set[tuple[str, str]] = set()
    answer = {}
    for place, each in sorted(enumerate(cells), key=lambda one: "@" in one[1].label):
        label = labels[each.result.study, each.result.fingerprint]
        if (label, str(each.cell)) in seen:
            label += each.label.removeprefix(each.result.study)
        seen.add((label, str(each.cell)))
        answer[place] = replace(each, label=label)
    return [answer[place] for place in range(len(cells))]


def compared(targets: Sequence[str], output: Path) -> list[FinishedCell]:
    """Write the report of all targets' cells into ``output``, and return them.

    Parameters
    ----------
    targets : sequence of str
        Of ``find``.
    output : Path
        The report's folder.

    Raises
    ------
    InputError
        A target cannot be found, or a cell was named twice.
    """
    with scratch() as folder:
        found = [cell for target in targets for cell in find(target, folder)]
        names = [(cell.label, str(cell.cell)) for cell in found]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"{'/'.join(name)}: named twice; name each cell once")
        cells = named(found)
        labels = dict.fromkeys(cell.label for cell in cells)
        write_report(output, " against ".join(labels), cells, [], provenance())
    return cells


@command
def main(targets: Sequence[str], output: Path) -> None:
    """Write the report of all targets' cells into ``output``.

    Parameters
    ----------
    targets : sequence of str
        Of ``find``.
    output : Path
        The report's folder.
    """
    compared(targets, output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Put several studies into one report.")
    parser.add_argument("targets", nargs="+", help="STUDY, STUDY/CELL or an MLflow run id")
    parser.add_argument("--output", type=Path, default=Path("reports/comparison"))
    arguments = parser.parse_args()
    main(arguments.targets, arguments.output)
