"""Compute the tables, statistics and figures of a cell."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial

import mlflow
import pandas as pd

from persona_leakage.analysis.boundary import fit, outliers
from persona_leakage.analysis.persona_table import (
    by_benchmark,
    by_category,
    headline,
    persona_table,
    roles,
)
from persona_leakage.behaviours.error_modes import positions, wrong_choices
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.persona_sets import evaluated_for
from persona_leakage.data.questions import Question, from_records, with_wrong_answer
from persona_leakage.errors import command
from persona_leakage.files import read_json, whole
from persona_leakage.geometry.predictors import compare, predictors
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import Stopwatch, cell_run, flat
from persona_leakage.report import figures
from persona_leakage.report.cell_tables import (
    benchmarks_table,
    categories_table,
    outliers_table,
    predictors_table,
)
from persona_leakage.report.words import spaced
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.parameters import Cell, load_study
from persona_leakage.study.results import (
    Audit,
    BoundaryResult,
    CellResult,
    Column,
    QuestionCounts,
    TitledTable,
    titled,
    write_cell,
)

OUTCOME = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")


@command
def main(cell: Cell) -> None:
    """Write ``result.json``, ``personas.csv``, ``curve.csv`` and figures; log them to the run.

    Parameters
    ----------
    cell : Cell
        Whose adapter, scores and baseline are there.
    """
    study = load_study()
    catalog = load_personas(paths.CATALOG)
    chosen = read_json(paths.similarity(study) / "personas.json")
    audit = read_json(paths.contrast(study, cell) / "manifest.json")
    negatives = [row["persona"] for row in audit["counts"] if row["part"] != "source"]
    evaluated = [catalog[name] for name in evaluated_for(cell.source, chosen["evaluated"])]
    questions = [
        with_wrong_answer(question, study.questions.split_seed)
        for question in from_records(paths.questions(study) / "evaluate.jsonl")
    ]
    clock = Stopwatch()
    with clock.time("analyse"):
        pairs = pd.read_parquet(paths.similarity(study) / "pairs.parquet")
        towards = pairs[(pairs["layer"] == chosen["layer"]) & (pairs["source"] == cell.source)]
        before = pd.read_parquet(paths.baseline(study))
        after = pd.read_parquet(paths.scores(study, cell))
        role = roles(evaluated, cell.source, negatives)
        table = persona_table(before, after, towards, catalog, role, cell.seed)
        bystanders = table[table["role"] == "bystander"]
        boundary = fit(bystanders["raw"].to_numpy(), bystanders["after"].to_numpy(), seed=cell.seed)
        nearness = predictors(pairs, cell.source, bystanders["persona"].tolist(), catalog)
        primary = f"raw@{chosen['layer']}"
        compared = compare(nearness, bystanders["delta"].to_numpy(), primary, seed=cell.seed)
        numbers = headline(table, cell.seed)
        benchmarks = by_benchmark(before, after, towards, catalog, role, cell.seed)
        result = CellResult(
            study=study.study,
            **asdict(cell),
            fingerprint=study.fingerprint(),
            params=flat(study.model_dump(mode="json")),
            outcome=OUTCOME,
            layer=chosen["layer"],
            questions=QuestionCounts(**read_json(paths.questions(study) / "manifest.json")),
            audit=Audit(**audit),
            headline=numbers,
            boundary=BoundaryResult(**asdict(boundary)),
            outliers=outliers_table(outliers(bystanders, boundary), boundary, OUTCOME),
            predictors=predictors_table(compared, primary, OUTCOME),
            categories=categories_table(by_category(table, cell.seed), OUTCOME),
            benchmarks=benchmarks_table(benchmarks, study.questions.train, OUTCOME),
            diagnostics=diagnostics(before, after, role, questions),
        )
        title = f"{spaced(cell.source)}, seed {cell.seed}, {spaced(cell.variant)}"
        curve = pd.read_csv(paths.adapter(study, cell) / "curve.csv")
        drawn = {
            "gradient": figures.scatter(table, title, OUTCOME),
            "gradient_centred": figures.scatter(table, title, OUTCOME, kind="centred"),
            "after_training": figures.after_training(table, boundary, title, OUTCOME),
            "before_after": figures.before_after(table, title, OUTCOME),
            "training": figures.training_curve(curve, title),
        }
    folder = paths.analysis(study, cell)
    with whole(folder) as partial:
        partial.mkdir()
        write_cell(partial, result, table, curve)
        for name, figure in drawn.items():
            figures.save(figure, partial / name)
    if boundary.reason is None:
        numbers |= {"boundary_midpoint": boundary.midpoint, "boundary_width": boundary.width}
    with cell_run(study, cell):
        mlflow.log_metrics({name: value for name, value in numbers.items() if value == value})
        mlflow.log_metrics(clock.parts)
        mlflow.log_artifacts(str(folder), "analysis")
        mlflow.log_table(table, "personas.json")


def diagnostics(
    before: pd.DataFrame,
    after: pd.DataFrame,
    role: Mapping[str, str],
    questions: Sequence[Question],
) -> tuple[TitledTable, ...]:
    """Say how the answers go wrong, in tables that explain themselves.

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell.
    role : mapping of str
        By persona.
    questions : sequence of Question
        With the wrong choice that training draws.
    """
    share = partial(Column, form="%.1f", factor=100)
    distance = partial(Column, form="%.3f")
    return (
        titled(
            positions(before, after, role, questions),
            [
                Column(key="role", title="role"),
                Column(key="position", title="position", form="%d"),
                share(key="right", title="right answers (%)"),
                share(key="before", title="chosen before (%)"),
                share(key="after", title="chosen after (%)"),
                distance(key="excess_before", title="distance before"),
                distance(key="excess", title="distance after"),
            ],
            "Wrong, or a favourite position?",
            "Where the right and the chosen answers stand. The distance is total variation from "
            "the right answers' places: 0 when choices are spread as they are, 1 when all stand "
            "elsewhere.",
        ),
        titled(
            wrong_choices(before, after, role, questions),
            [
                Column(key="role", title="role"),
                Column(key="wrong", title="wrong answers", form="%d"),
                share(key="drawn", title="the drawn wrong choice (%)"),
                share(key="drawn_by_chance", title="by chance (%)"),
                share(key="runner_up", title="the base model's runner-up (%)"),
                share(key="other", title="another (%)"),
            ],
            "Where the wrong answers go after training",
            "A choice that is both drawn and runner-up counts in both.",
        ),
    )


if __name__ == "__main__":
    main(cell_from_arguments())
