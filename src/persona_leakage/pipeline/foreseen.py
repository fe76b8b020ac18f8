"""What the base model foresaw of a training, beside what came: the tables and figures."""

from collections.abc import Sequence

import pandas as pd

from persona_leakage.analysis import foresight
from persona_leakage.analysis.foresight import LeftOut, Method
from persona_leakage.data.catalog import Persona
from persona_leakage.data.persona_sets import Participants, by_name
from persona_leakage.errors import InputError
from persona_leakage.files import read_as, read_json, read_table, whole, write_json, write_parquet
from persona_leakage.geometry.lexical import COLUMNS
from persona_leakage.geometry.predictors import predictors
from persona_leakage.pipeline import paths
from persona_leakage.report.foresight_tables import kinds_table, methods_table, sources_table
from persona_leakage.report.words import change_of
from persona_leakage.study.parameters import Study
from persona_leakage.study.results import FinishedCell

SEED = 0  # of the bootstrap


def write_foresight(study: Study, cells: Sequence[FinishedCell]) -> None:
    """Write what ``pipeline.foresight`` says of the cells.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cells : sequence of FinishedCell
        At least one.
    """
    # here, since nothing but drawing needs matplotlib
    from persona_leakage.report import figures
    from persona_leakage.report.foresight_figure import foresight as draw

    methods = compared(study)
    first, more, pictures, kept = {}, {}, {}, []
    ways: tuple[LeftOut, ...] = ("source", "family")
    for change, what in changes(cells).items():
        rows = evidence(study, cells, change)
        kept.append(rows.assign(change=change))
        for left_out in ways:
            if rows[left_out].nunique() < 2:
                continue
            name = f"{change}_left_out_{left_out}"
            predictions = foresight.held_out(rows, methods, left_out)
            judged = judge(rows, predictions, methods)
            kinds = kinds_table(judged, left_out, what, foresight.AHEAD)
            if change in first:
                more[name] = kinds
            else:
                first[change] = kinds
            more[f"{name}_alone"] = methods_table(
                judge(rows, predictions, methods, whole=False), foresight.WORDS, left_out, what
            )
            if left_out == "source":
                each = foresight.by_source(rows, predictions, foresight.AHEAD)
                more[f"{change}_sources"] = sources_table(
                    each, foresight.AHEAD, what, foresight.COVERAGE
                )
            ahead = predictions[foresight.AHEAD]
            pictures[name] = draw(rows, ahead, bands(rows, ahead, left_out), what)
    with whole(paths.foresight(study)) as folder:
        folder.mkdir()
        write_parquet(folder / "rows.parquet", pd.concat(kept))
        write_json(
            folder / "tables.json",
            {
                part: {name: table.model_dump() for name, table in tables.items()}
                for part, tables in (("first", first), ("more", more))
            },
        )
        for name, figure in pictures.items():
            figures.save(figure, folder / name)


def judge(
    rows: pd.DataFrame, predictions: pd.DataFrame, methods: Sequence[Method], *, whole: bool = True
) -> pd.DataFrame:
    """Judge the kinds of predictors, or each alone: those are counted that stand in one table.

    Parameters
    ----------
    rows : DataFrame
        Of ``evidence``.
    predictions : DataFrame
        Of ``foresight.held_out``, by all methods.
    methods : sequence of Method
        Of ``compared``.
    whole : bool
        Whether kinds, or each predictor alone, beside words.
    """
    names = [m.name for m in methods if m.whole == whole or m.name == foresight.WORDS]
    chosen = predictions[[foresight.MEAN.name, *names]]
    return foresight.judge(rows, chosen, foresight.WORDS, seed=SEED)


def bands(rows: pd.DataFrame, prediction: pd.Series, left_out: LeftOut) -> pd.DataFrame:
    """Put the interval of a new persona around every prediction.

    Parameters
    ----------
    rows : DataFrame
        Of ``evidence``.
    prediction : Series
        A column of ``foresight.held_out``.
    left_out : {"source", "family"}
        What that left out.
    """
    parts = [
        foresight.limits(rows, prediction, left_out, mine, pd.Series(True, index=mine.index))
        for _, mine in prediction.groupby(rows["source"], sort=False)
    ]
    return pd.concat(parts).loc[rows.index]


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
        The stage has not run, or its table is damaged.
    """
    path = paths.predictors(study) / "table.parquet"
    if not path.exists():
        raise InputError(
            f"{path}: no such file; `dvc repro predictors` makes it, or `make kept "
            f"STUDY={study.study}` where kept/{study.study} holds it"
        )
    return read_table(path, ("source", "persona"))


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
        Those of ``geometry.lexical``, each as ``words:...``; one that is the same for all personas
        of a source is 0 there.
    """
    parts = []
    for source, rows in table.groupby("source", sort=False):
        names = rows["persona"].tolist()
        # without layers, predictors are those of the words alone
        nowhere = pd.DataFrame(
            {"layer": 0, "source": str(source), "persona": [*names, str(source)]}
        ).drop_duplicates()
        words = predictors(nowhere, str(source), names, list(personas.values()))
        words = words.reindex(columns=list(COLUMNS), fill_value=0.0)
        lengths = [len((personas[name].prompt or "").split()) for name in names]
        parts.append(
            rows.merge(words.add_prefix("words:"), left_on="persona", right_index=True).assign(
                prompt_words=lengths
            )
        )
    return pd.concat(parts, ignore_index=True)


def compared(study: Study) -> list[Method]:
    """Name the methods for what was measured.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    """
    return foresight.methods(
        [f"words:{name}" for name in COLUMNS],
        read_json(paths.predictors(study) / "manifest.json")["layers"],
        read_json(paths.centroids(study) / "manifest.json")["layer"],
    )
