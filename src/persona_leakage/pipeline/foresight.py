"""Judge, out of sample, how well the base model foresees which personas a training damages."""

from collections.abc import Sequence

import pandas as pd

from persona_leakage.analysis import foresight
from persona_leakage.analysis.foresight import LeftOut, Method
from persona_leakage.data.catalog import Persona
from persona_leakage.data.persona_sets import Participants, by_name
from persona_leakage.errors import InputError, command
from persona_leakage.files import read_as, read_json, whole, write_json
from persona_leakage.geometry.predictors import predictors
from persona_leakage.pipeline import paths
from persona_leakage.report import figures
from persona_leakage.report.foresight_figure import foresight as draw
from persona_leakage.report.foresight_tables import methods_table, sources_table
from persona_leakage.report.words import change_of
from persona_leakage.study.cell import JUDGED
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.study.results import FinishedCell, read_cell

SEED = 0  # of the bootstrap


@command
def main() -> None:
    """Write ``rows.parquet`` (of ``evidence``, by ``change``), ``tables.json`` and figures.

    Of each of ``changes`` and what is left out: a titled table and a figure.

    With cells of one source alone nothing can be left out but families; with none there is nothing
    to judge, and ``tables.json`` is empty.
    """
    study = load_study()
    cells = finished(study)
    if not cells:
        with whole(paths.foresight(study)) as folder:
            folder.mkdir()
            write_json(folder / "tables.json", {})
        return
    tables, pictures, kept = {}, {}, []
    ways: tuple[LeftOut, ...] = ("source", "family")
    for change, what in changes(cells).items():
        rows = evidence(study, cells, change)
        kept.append(rows.assign(change=change))
        for left_out in ways:
            if rows[left_out].nunique() < 2:
                continue
            name = f"{change}_left_out_{left_out}"
            predictions = foresight.held_out(rows, compared(study, rows), left_out)
            judged = foresight.judge(rows, predictions, foresight.WORDS, seed=SEED)
            everything = predictions[foresight.EVERYTHING]
            tables[name] = methods_table(judged, foresight.WORDS, left_out, what)
            if left_out == "source":
                each = foresight.by_source(rows, predictions, foresight.EVERYTHING)
                tables[f"{change}_sources"] = sources_table(each, foresight.EVERYTHING, what)
            band = foresight.limits(rows, everything, rows["source"], everything)
            pictures[name] = draw(rows, everything, band, what)
    with whole(paths.foresight(study)) as folder:
        folder.mkdir()
        pd.concat(kept).to_parquet(folder / "rows.parquet", index=False)
        write_json(
            folder / "tables.json", {name: table.model_dump() for name, table in tables.items()}
        )
        for name, figure in pictures.items():
            figures.save(figure, folder / name)


def changes(cells: Sequence[FinishedCell]) -> dict[str, str]:
    """Say what there is to be foreseen: the outcome's change, and that of the log-odds.

    Parameters
    ----------
    cells : sequence of FinishedCell
        At least one, all of one outcome.

    Returns
    -------
    dict
        In words with the unit, by the column of the cells' persona tables. Log-odds are there when
        every cell has them.
    """
    found = {"delta": change_of(cells[0].result.outcome)}
    bystanders = [each.personas.query("role == 'bystander'") for each in cells]
    if all("margin_delta" in rows and rows["margin_delta"].notna().all() for rows in bystanders):
        found["margin_delta"] = "change in the log-odds of the right choice (nats)"
    return found


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


def evidence(study: Study, cells: Sequence[FinishedCell], change: str = "delta") -> pd.DataFrame:
    """Put every bystander's change beside its predictors.

    Parameters
    ----------
    study : Study
        Whose stage ``predictors`` has run.
    cells : sequence of FinishedCell
        Of ``finished``.
    change : str
        See ``foresight.observed``.

    Returns
    -------
    DataFrame
        ``foresight.KEYS``, the columns of the stage ``predictors`` and of ``with_words``.
    """
    personas = by_name(read_as(paths.personas(study), Participants).personas)
    rows = foresight.observed(cells, personas, change)
    measured = with_words(stored(study), personas)
    return rows.merge(measured, on=["source", "persona"], validate="one_to_one")


def stored(study: Study) -> pd.DataFrame:
    """Read the table of the stage ``predictors``.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.

    Raises
    ------
    InputError
        The stage has not run.
    """
    path = paths.predictors(study) / "table.parquet"
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro predictors` makes it")
    return pd.read_parquet(path)


def with_words(table: pd.DataFrame, personas: dict[str, Persona]) -> pd.DataFrame:
    """Add what the prompts' words say: lexical predictors, and ``prompt_words``, their number.

    Parameters
    ----------
    table : DataFrame
        ``source`` and ``persona``, all personas of a source together.
    personas : dict
        Records, by name.

    Returns
    -------
    DataFrame
        The columns of ``geometry.predictors`` that no layer has; one that is the same for all
        personas of a source is 0 there.
    """
    parts = []
    for source, rows in table.groupby("source", sort=False):
        names = rows["persona"].tolist()
        # without layers, predictors are those of the words alone
        nowhere = pd.DataFrame(
            {"layer": 0, "source": str(source), "persona": [*names, str(source)]}
        ).drop_duplicates()
        words = predictors(nowhere, str(source), names, list(personas.values()))
        lengths = [len((personas[name].prompt or "").split()) for name in names]
        parts.append(
            rows.merge(words.add_prefix("words:"), left_on="persona", right_index=True).assign(
                prompt_words=lengths
            )
        )
    joined = pd.concat(parts, ignore_index=True)
    return joined.fillna(dict.fromkeys(lexical(joined), 0.0))


def lexical(table: pd.DataFrame) -> list[str]:
    """Name the columns of the lexical predictors.

    Parameters
    ----------
    table : DataFrame
        Of ``with_words``.
    """
    return [str(name) for name in table if str(name).startswith("words:")]


def compared(study: Study, rows: pd.DataFrame) -> list[Method]:
    """Name the methods for what was measured.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    rows : DataFrame
        Of ``evidence``.
    """
    return foresight.methods(
        lexical(rows),
        read_json(paths.predictors(study) / "manifest.json")["layers"],
        read_json(paths.centroids(study) / "manifest.json")["layer"],
    )


if __name__ == "__main__":
    main()
