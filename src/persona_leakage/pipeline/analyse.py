"""Compute the tables, statistics and figures of a cell."""

from dataclasses import asdict

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
from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.persona_sets import evaluated_for, from_records
from persona_leakage.data.questions import read_questions
from persona_leakage.data.split import with_wrong_answer
from persona_leakage.errors import command
from persona_leakage.files import read_json, whole, write_json
from persona_leakage.geometry.predictors import predictors
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.arguments import cell_from_arguments
from persona_leakage.pipeline.scores import read_scores
from persona_leakage.pipeline.tracking import Stopwatch, cell_run, flat
from persona_leakage.pipeline.upload import log_analysis
from persona_leakage.report import figures
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study


@command
def main(cell: Cell) -> None:
    """Write ``personas.csv``, ``metrics.json``, ``findings.json``, figures; log them to the run."""
    study = load_study()
    chosen = read_json(paths.evaluated(study))
    personas = from_records(chosen["personas"])
    names = evaluated_for(cell.source, chosen["evaluated"])
    layer = read_json(paths.centroids(study) / "manifest.json")["layer"]
    audit = read_json(paths.contrast(study, cell) / "manifest.json")
    negatives = [row["persona"] for row in audit["counts"] if row["part"] != "source"]
    behaviour = load_behaviour(study.behaviour)
    outcome = behaviour.outcome
    asked = [
        with_wrong_answer(question, study.questions.split_seed)
        for question in read_questions(paths.questions(study) / "evaluate.jsonl")
    ]
    clock = Stopwatch()
    with clock.time("analyse"):
        pairs = pd.read_parquet(paths.pairs(study))
        towards = pairs[(pairs["layer"] == layer) & (pairs["source"] == cell.source)]
        before = read_scores(paths.baseline(study), names)
        after = read_scores(paths.scores(study, cell), names)
        role = roles([personas[name] for name in names], cell.source, negatives)
        table = persona_table(before, after, towards, personas, role, outcome, cell.seed)
        bystanders = table[table["role"] == "bystander"]
        boundary = fit(bystanders["raw"], bystanders["after"], outcome, seed=cell.seed)
        nearness = predictors(
            pairs, cell.source, bystanders["persona"].tolist(), list(personas.values())
        )
        primary = f"raw@{layer}"
        compared = compare(nearness, bystanders["delta"], primary, outcome, seed=cell.seed)
        numbers = headline(table, cell.seed)
        findings = {
            "layer": layer,
            "boundary": asdict(boundary),
            "outliers": outliers(bystanders, boundary, outcome).to_dict("records"),
            "predictors": compared.to_dict("records"),
            "categories": by_category(table, outcome, cell.seed).to_dict("records"),
            "benchmarks": by_benchmark(
                before, after, towards, personas, role, outcome, cell.seed
            ).to_dict("records"),
            "diagnoses": [
                {
                    "title": diagnosis.title,
                    "note": diagnosis.note,
                    "columns": diagnosis.columns,
                    "rows": diagnosis.table.to_dict("records"),
                }
                for diagnosis in behaviour.diagnose(before, after, role, asked)
            ],
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
    with cell_run(study, cell) as run:
        log_analysis(run, study, cell)
        run.log_metrics(clock.parts)


if __name__ == "__main__":
    main(cell_from_arguments())
