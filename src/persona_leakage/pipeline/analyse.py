"""Compute the tables, statistics and figures of a cell."""

from dataclasses import asdict

import mlflow
import pandas as pd

from persona_leakage.analysis.boundary import fit, outliers
from persona_leakage.analysis.persona_table import (
    by_benchmark,
    by_category,
    headline,
    persona_table,
)
from persona_leakage.analysis.prediction import compare
from persona_leakage.analysis.roles import roles
from persona_leakage.behaviours.error_modes import positions, wrong_choices
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.persona_sets import evaluated_for
from persona_leakage.data.questions import from_records, with_wrong_answer
from persona_leakage.errors import command
from persona_leakage.files import read_json, whole, write_json
from persona_leakage.geometry.predictors import predictors
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.tracking import Stopwatch, cell_run, flat
from persona_leakage.report import figures
from persona_leakage.report.published import ACCURACY
from persona_leakage.study.parameters import Cell, load_study


@command
def main(cell: Cell) -> None:
    """Write ``personas.csv``, ``metrics.json``, ``findings.json``, figures; log them to the run."""
    study = load_study()
    catalog = load_personas(paths.CATALOG)
    chosen = read_json(paths.similarity(study) / "personas.json")
    audit = read_json(paths.contrast(study, cell) / "manifest.json")
    negatives = [row["persona"] for row in audit["counts"] if row["part"] != "source"]
    evaluated = [catalog[name] for name in evaluated_for(cell.source, chosen["evaluated"])]
    measured = [catalog[name] for name in chosen["measured"]]
    asked = [
        with_wrong_answer(question, study.questions.split_seed)
        for question in from_records(paths.questions(study) / "evaluate.jsonl")
    ]
    clock = Stopwatch()
    with clock.time("analyse"):
        pairs = pd.read_parquet(paths.similarity(study) / "pairs.parquet")
        towards = pairs[(pairs["layer"] == chosen["layer"]) & (pairs["source"] == cell.source)]
        before, after = (
            scores.assign(outcome=scores["correct"].astype(float))
            for scores in map(pd.read_parquet, (paths.baseline(study), paths.scores(study, cell)))
        )
        role = roles(evaluated, cell.source, negatives)
        table = persona_table(before, after, towards, catalog, role, ACCURACY, cell.seed)
        bystanders = table[table["role"] == "bystander"]
        boundary = fit(bystanders["raw"], bystanders["after"], ACCURACY, seed=cell.seed)
        nearness = predictors(pairs, cell.source, bystanders["persona"].tolist(), measured)
        primary = f"raw@{chosen['layer']}"
        compared = compare(nearness, bystanders["delta"], primary, ACCURACY, seed=cell.seed)
        numbers = headline(table, cell.seed)
        findings = {
            "layer": chosen["layer"],
            "boundary": asdict(boundary),
            "outliers": outliers(bystanders, boundary, ACCURACY).to_dict("records"),
            "predictors": compared.to_dict("records"),
            "categories": by_category(table, ACCURACY, cell.seed).to_dict("records"),
            "benchmarks": by_benchmark(
                before, after, towards, catalog, role, ACCURACY, cell.seed
            ).to_dict("records"),
            "positions": positions(before, after, role, asked).to_dict("records"),
            "wrong_choices": wrong_choices(before, after, role, asked).to_dict("records"),
        }
        title = f"{cell.source.replace('_', ' ')}, seed {cell.seed}, {cell.variant}"
        curve = pd.read_csv(paths.adapter(study, cell) / "curve.csv")
        drawn = {
            "gradient": figures.scatter(table, title),
            "gradient_centred": figures.scatter(table, title, kind="centred"),
            "accuracy": figures.accuracy_curve(table, boundary, title),
            "before_after": figures.before_after(table, title),
            "training": figures.training_curve(curve, title),
        }
    folder = paths.analysis(study, cell)
    with whole(folder) as partial:
        partial.mkdir()
        table.to_csv(partial / "personas.csv", index=False, float_format="%.6g")
        curve.to_csv(partial / "curve.csv", index=False)
        write_json(partial / "metrics.json", numbers)
        write_json(partial / "findings.json", findings)
        write_json(partial / "manifest.json", audit)
        write_json(
            partial / "cell.json",
            {
                "study": study.study,
                **asdict(cell),
                "params": flat(study.model_dump()),
                "questions": read_json(paths.questions(study) / "manifest.json"),
            },
        )
        for name, figure in drawn.items():
            figures.save(figure, partial / name)
    if boundary.reason is None:
        numbers |= {"boundary_midpoint": boundary.midpoint, "boundary_width": boundary.width}
    with cell_run(study, cell):
        mlflow.log_metrics({name: value for name, value in numbers.items() if value == value})
        mlflow.log_metrics(clock.parts)
        mlflow.log_artifacts(str(folder), "analysis")
        mlflow.log_table(table, "personas.json")


if __name__ == "__main__":
    main(cell_from_arguments())
