"""The analysis of a cell, from the files that it is made of to those that it makes."""

from dataclasses import asdict
from pathlib import Path

from persona_leakage.analysis.best_predictor import compare
from persona_leakage.analysis.boundary import fit, outliers
from persona_leakage.analysis.evidence import KINDS, evidence_of_cells, rhos, sizes
from persona_leakage.analysis.margin import (
    LOG_ODDS,
    adjusted,
    margin_headline,
    margin_sides,
    with_margins,
)
from persona_leakage.analysis.paired import aligned
from persona_leakage.analysis.persona_table import (
    by_benchmark,
    by_category,
    given_covariates,
    headline,
    persona_table,
)
from persona_leakage.analysis.question_model import with_log_odds
from persona_leakage.analysis.roles import roles
from persona_leakage.analysis.words_or_geometry import words_or_geometry
from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.persona_sets import Evaluated, by_name, evaluated_for
from persona_leakage.data.questions import read_questions
from persona_leakage.data.split import with_wrong_answer
from persona_leakage.files import read_as, read_table, whole
from persona_leakage.geometry.cosines import PAIRS, Layer
from persona_leakage.geometry.predictors import predictors
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.samples import answers as sample_answers
from persona_leakage.pipeline.samples import conversations
from persona_leakage.pipeline.score_files import read_scores
from persona_leakage.pipeline.stopwatch import Stopwatch
from persona_leakage.pipeline.training_set import training_set
from persona_leakage.report.cell_tables import (
    benchmarks_table,
    categories_table,
    outliers_table,
    predictors_table,
)
from persona_leakage.report.words import spaced
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Neighbourhood, Study
from persona_leakage.study.results import (
    Audit,
    BoundaryResult,
    CellResult,
    QuestionCounts,
    write_cell,
)


def write_analysis(study: Study, cell: Cell, folder: Path) -> dict[str, float]:
    """Write ``result.json``, ``personas.csv``, ``curve.csv`` and figures.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        Whose adapter, scores and baseline are there.
    folder : Path
        Replaced whole.

    Returns
    -------
    dict
        Seconds that it took, for MLflow: see ``Stopwatch``.
    """
    participants = read_as(paths.evaluated(study), Evaluated)
    personas = by_name(participants.personas)
    names = evaluated_for(cell.source, participants.evaluated)
    layer = read_as(paths.centroids(study) / "manifest.json", Layer).layer
    audit = read_as(paths.contrast(study, cell) / "manifest.json", Audit)
    negatives = [str(row["persona"]) for row in audit.counts if row["part"] != "source"]
    behaviour = load_behaviour(study.behaviour)
    outcome = behaviour.outcome
    questions = [
        with_wrong_answer(question, study.questions.split_seed)
        for question in read_questions(paths.questions(study) / "evaluate.jsonl")
    ]
    by_similarity = isinstance(study.personas, Neighbourhood)
    clock = Stopwatch()
    with clock.time("analyse"):
        pairs = read_table(paths.pairs(study), PAIRS)
        here = pairs[pairs["layer"] == layer]
        towards = here[here["source"] == cell.source]
        before = read_scores(paths.baseline(study), names, outcome)
        after = read_scores(paths.scores(study, cell), names, outcome)
        role = roles([personas[name] for name in names], cell.source, negatives)
        # what was trained on carries the answer; other benchmarks stand beside it
        trained = before["benchmark"].isin(study.questions.train)
        main_before, main_after = before, after
        if trained.any():
            main_before = before[trained]
            main_after = after[after["benchmark"].isin(study.questions.train)]
        table = persona_table(main_before, main_after, towards, personas, role, outcome, cell.seed)
        margins = margin_sides(main_before, main_after, table["persona"].tolist())
        table = with_margins(table, margins)
        table = with_log_odds(table, main_before, main_after, outcome)
        bystanders = table[table["role"] == "bystander"]
        boundary = fit(bystanders, outcome, seed=cell.seed)
        nearness = predictors(
            pairs, cell.source, bystanders["persona"].tolist(), list(personas.values())
        )
        square = here.pivot(index="source", columns="persona", values="raw")
        compared = compare(nearness, bystanders, square, outcome, seed=cell.seed)
        answers = aligned(main_before, main_after, table["persona"].tolist(), outcome)
        changes = {"spearman": (answers[1] - answers[0], outcome)}
        lowered = adjusted(margins["delta"], table)
        if lowered is not None:
            changes["margin"] = (lowered, LOG_ODDS)
        seen = {
            f"{name}_{kind}": evidence_of_cells(
                table, [change], here, kind, of, by_similarity=by_similarity, seed=cell.seed
            )
            for name, (change, of) in changes.items()
            for kind in KINDS
        }
        numbers = headline(table) | sizes(seen["spearman_raw"]) | margin_headline(table)
        numbers |= given_covariates(table, cell.seed)
        for name, evidence in seen.items():
            numbers |= rhos(evidence, name)
        crossed = words_or_geometry(table, here, personas, cell.source, outcome)
        benchmarks = by_benchmark(before, after, towards, personas, role, outcome, cell.seed)
        trained_on = read_questions(paths.questions(study) / "train.jsonl")
        seed = study.questions.split_seed
        samples = (
            conversations(training_set(study, cell), cell.source, trained_on, behaviour),
            sample_answers(main_before, main_after, table, questions, behaviour, seed),
        )
        # here, since MLflow and matplotlib take longer to import than the files to read
        from persona_leakage.pipeline.tracking import flat
        from persona_leakage.report import figures
        from persona_leakage.report.words_geometry_figure import words_geometry

        result = CellResult(
            study=study.study,
            **asdict(cell),
            fingerprint=study.fingerprint(),
            params=flat(study.model_dump(mode="json")),
            outcome=outcome,
            layer=layer,
            by_similarity=by_similarity,
            shape=seen["spearman_raw"].shape,
            questions=read_as(paths.questions(study) / "manifest.json", QuestionCounts),
            audit=audit,
            headline=numbers,
            boundary=BoundaryResult(**asdict(boundary)),
            outliers=outliers_table(outliers(bystanders, boundary, outcome), boundary, outcome),
            predictors=predictors_table(compared, f"raw@{layer}"),
            categories=categories_table(by_category(table, outcome), outcome),
            benchmarks=benchmarks_table(benchmarks, study.questions.train, outcome),
            diagnostics=behaviour.diagnose(before, after, role, questions),
            samples=tuple(table for table in samples if table.rows),
        )
        title = f"{spaced(cell.source)}, seed {cell.seed}, {spaced(cell.variant)}"
        curve = read_table(paths.adapter(study, cell) / "curve.csv", ["step", "loss"])
        pictures = {
            "gradient": figures.scatter(table, title, outcome),
            "gradient_centred": figures.scatter(table, title, outcome, kind="centred"),
            "after_training": figures.after_training(table, boundary, title, outcome),
            "words_geometry": words_geometry(
                table, here, crossed, personas, f"{title}: {crossed.verdict}", outcome
            ),
            "before_after": figures.before_after(table, title, outcome),
        }
        if not curve.empty:  # a given adapter has none
            pictures["training"] = figures.training_curve(curve, title)
    with whole(folder) as partial:
        partial.mkdir()
        write_cell(partial, result, table, curve, *answers, margins["delta"], here)
        for name, figure in pictures.items():
            figures.save(figure, partial / name)
    return clock.parts
