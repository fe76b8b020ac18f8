"""Judge, out of sample, how well the base model foresees which personas a training damages."""

from persona_leakage.errors import command
from persona_leakage.files import whole, write_json
from persona_leakage.pipeline import paths
from persona_leakage.study.cell import JUDGED
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.study.results import FinishedCell, read_cell


@command
def main() -> None:
    """Write ``rows.parquet`` (of ``evidence``, by ``change``), ``tables.json`` and figures.

    Of each of ``changes`` and what is left out: titled tables and a figure. Those that the report
    shows ``first`` are of kinds of predictors, for a source left out where there are several;
    ``more`` are the others.

    With cells of one source alone nothing can be left out but families; with none there is nothing
    to judge, and there are no tables.
    """
    study = load_study()
    paths.set_aside(study)
    cells = finished(study)
    if not cells:
        with whole(paths.foresight(study)) as folder:
            folder.mkdir()
            write_json(folder / "tables.json", {"first": {}, "more": {}})
        return
    # here, since with no cell there is nothing that needs scikit-learn and scipy's statistics
    from persona_leakage.pipeline.foreseen import write_foresight

    write_foresight(study, cells)


def finished(study: Study) -> list[FinishedCell]:
    """Read the study's finished cells that its answer is read off.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    """
    read = [
        read_cell(paths.analysis(study, cell)) for cell in study.cells if cell.variant in JUDGED
    ]
    return [each for each in read if each and each.result.fingerprint == study.fingerprint()]


if __name__ == "__main__":
    main()
