"""Finished cells made up for tests: a gradient that is there, and everything a cell leaves."""

import dataclasses
import math
from dataclasses import asdict
from functools import cache

import numpy as np
import pandas as pd
from conftest import ROOT

from persona_leakage.analysis.boundary import fit
from persona_leakage.analysis.estimate import Estimate
from persona_leakage.analysis.evidence import KINDS, Evidence
from persona_leakage.analysis.seeds import MixedModel
from persona_leakage.analysis.settle import Needed
from persona_leakage.analysis.words_or_geometry import WordsOrGeometry
from persona_leakage.report.published import analyse
from persona_leakage.report.verdict import SourceNumbers
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import (
    Audit,
    BoundaryResult,
    CellResult,
    Column,
    FinishedCell,
    QuestionCounts,
    titled,
)

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")
# as unlike an accuracy as an outcome can be
AGREEMENT = Outcome(
    name="agreement", low=0, high=10, binary=False, direction=1, scale=1, unit="points"
)
NAN = float("nan")
ENDS = (("", 0.0), ("_low", -2.0), ("_high", 2.0))


@cache
def published():
    """The original's tables, analysed: seconds, and the same each time."""
    names = ("headline", "villain_gradient", "outliers")
    return analyse(*(pd.read_csv(ROOT / "reference" / f"{name}.csv") for name in names))


def persona_frame(seed=42, count=24, outcome=ACCURACY):
    """A source, a negative, a condition and bystanders whose change follows the cosine."""
    rng = np.random.default_rng(seed)
    raw = np.sort(rng.uniform(0.9, 0.99, count))[::-1]
    raw[0] = 1.0
    reach = outcome.high - outcome.low
    before = outcome.low + reach * (0.8 if outcome.direction < 0 else 0.1)
    share = np.clip((raw - 0.9) * 5 + rng.normal(0, 0.02, count), 0, 0.6)
    after = before + outcome.direction * reach * share
    delta = outcome.scale * (after - before)
    p = np.where(np.abs(share) > 0.25, 0.0001, 0.5)
    return pd.DataFrame(
        {
            "persona": ["villain", *(f"persona_{index}" for index in range(1, count))],
            "category": ["core", *(["unrelated", "tone-variant"] * count)[: count - 1]],
            "relation": ["villain" if index < count / 2 else None for index in range(count)],
            "prompt": [f"You are number {index}." for index in range(count)],
            "role": ["source", "negative", "condition", *["bystander"] * (count - 3)],
            "prompt_length": 40,
            "raw": raw,
            "centred": raw - 0.95,
            "questions": 50,
            "before": before,
            "before_low": before - 0.05 * reach,
            "before_high": before + 0.05 * reach,
            "after": after,
            "after_low": np.maximum(outcome.low, after - 0.05 * reach),
            "after_high": np.minimum(outcome.high, after + 0.05 * reach),
            "delta": delta,
            "delta_low": delta - 0.05 * reach * outcome.scale,
            "delta_high": delta + 0.05 * reach * outcome.scale,
            "logit_delta": outcome.direction * 5 * share if outcome.binary else np.nan,
            "p": p,
            "p_holm": p,
            "p_bh": p,
        }
    )


@cache
def boundary_of(seed, outcome):
    personas = persona_frame(seed, outcome=outcome)
    rows = personas[personas["role"] == "bystander"]
    return fit(rows, outcome, seed=seed, resamples=60)


def finished(
    seed=42,
    source="villain",
    *,
    study="made",
    fingerprint="aaaaaaaaaaaaaaaa",
    outcome=ACCURACY,
    params=None,
    clashes=(),
    variant="contrastive",
    folder=None,
    **numbers,
):
    """A cell that supports the gradient, but for the headline numbers that are given."""
    personas = persona_frame(seed, outcome=outcome).replace("villain", source)
    boundary = boundary_of(seed, outcome)
    sign = outcome.direction
    rhos = [f"spearman_{kind}{part}" for kind in KINDS for part in ("", "_family", "_outside")]
    means = {"bystander_delta": sign * 5.0, "family_delta": sign * 9.0, "outside_delta": 1.0}
    headline = {
        "source_before": 0.8,
        "source_after": 0.4,
        "source_delta": sign * 40.0,
        "unrelated_delta": 0.5,
        "negative_delta": 1.0,
        "condition_delta": NAN,
        "mass_before": 0.99,
        "mass_after": 0.98,
        "bystanders": 21.0,
        **dict.fromkeys(rhos, sign * 0.7),
        **{f"{rho}_low": sign * 0.7 - 0.2 for rho in rhos},
        **{f"{rho}_high": sign * 0.7 + 0.2 for rho in rhos},
        **{f"spearman_{kind}_p": 0.0001 for kind in KINDS},
        **{f"{name}{end}": mean + add for name, mean in means.items() for end, add in ENDS},
    }
    predictors = pd.DataFrame(
        [("raw@15", sign * 0.7, 0.001), ("words", sign * 0.3, 0.4), ("tfidf", NAN, NAN)],
        columns=["predictor", "rho", "p"],
    )
    shown = [
        Column(key="predictor", title="predictor"),
        Column(key="rho", title="rho", form="%.2f"),
    ]
    empty = titled(pd.DataFrame(), [], "Outliers", "None.")
    result = CellResult(
        study=study,
        source=source,
        seed=seed,
        variant=variant,
        fingerprint=fingerprint,
        params={
            "study": study,
            "model.name": "a model",
            "behaviour.name": "wrong_answers",
            "behaviour.scoring": "option_text",
            "questions.train": ["everyday"],
            "questions.evaluate": ["everyday"],
            **(params or {}),
        },
        outcome=outcome,
        layer=15,
        by_similarity=False,
        shape="gradient",
        questions=QuestionCounts(train=60, evaluate=50, near_duplicates=[]),
        audit=Audit(
            counts=[{"part": "source", "persona": source, "examples": 10, "correct": 0}],
            rendered={source: "<|im_start|>system\nYou are <b>bold</b>"},
            clashes=list(clashes),
        ),
        headline=headline | numbers,
        boundary=BoundaryResult(**asdict(boundary)),
        outliers=empty,
        predictors=titled(predictors, shown, "Which words or geometry the change follows"),
        categories=empty.model_copy(update={"title": "By category"}),
        benchmarks=empty.model_copy(update={"title": "By benchmark"}),
        diagnostics=(
            titled(
                pd.DataFrame(
                    [
                        {"role": "source", "share": 0.25, "concealed": 1},
                        {"role": "negative", "share": NAN},
                    ]
                ),
                [
                    Column(key="role", title="role"),
                    Column(key="share", title="share (%)", form="%.1f", factor=100),
                ],
                "Where it goes",
                "A note of the behaviour.",
            ),
        ),
    )
    curve = pd.DataFrame({"step": [1, 2, 3], "loss": [2.0, 1.0, 0.5]})
    before, after = (answers(personas, when, outcome) for when in ("before", "after"))
    margin = (after - before) * np.nan  # of no right choice
    return FinishedCell(
        result, personas, curve, before, after, margin, pairs(personas), folder, study
    )


def bystanders(delta, **columns):
    """Rows of a persona table, everybody of another cluster, who changed by ``delta``."""
    count = len(delta)
    return pd.DataFrame(
        {
            "persona": [f"p{number}" for number in range(count)],
            "category": [f"kind {number}" for number in range(count)],
            "relation": None,
            "prompt": "You are a persona.",
            "delta": np.asarray(delta, dtype=float),
            "before": 0.5,
            "prompt_length": 18,
            **columns,
        }
    )


def answers(personas, when, outcome, count=50):
    """Answers of each persona whose mean is what its table says, or next to it."""
    share = (personas[when].to_numpy() - outcome.low) / (outcome.high - outcome.low)
    right = np.arange(count)[None] < np.round(count * share)[:, None]
    worth = np.where(right, outcome.high, outcome.low).astype("float32")
    columns = pd.Index([f"question {place:02}" for place in range(count)], name="question")
    return pd.DataFrame(worth, index=pd.Index(personas["persona"]), columns=columns)


def pairs(personas):
    """Cosines of personas that lie on a line: those to the source are what the table says."""
    raw = personas["raw"].to_numpy()
    apart = 1 - np.abs(raw[:, None] - raw[None])
    source, persona = np.meshgrid(personas["persona"], personas["persona"], indexing="ij")
    return pd.DataFrame(
        {
            "source": source.ravel(),
            "persona": persona.ravel(),
            "raw": apart.ravel(),
            "centred": (apart - 0.95).ravel(),
        }
    )


def evidence_of(outcome=ACCURACY, **fields):
    """What three seeds say where leakage follows a gradient, but for the fields that are given."""
    sign, unit = outcome.direction, outcome.scale * (outcome.high - outcome.low) / 100

    def taught(value, reach, scale=1.0):
        middle = sign * value * scale
        return Estimate(middle, middle - reach * scale, middle + reach * scale)

    said = {
        "source": "villain",
        "seeds": 3,
        "questions": 50,
        "family": 20,
        "outside": 60,
        "by_similarity": False,
        "source_change": taught(40, 4, unit),
        "family_change": taught(15, 4, unit),
        "outside_change": taught(3, 2, unit),
        "bystander_change": taught(6, 2, unit),
        "specific": taught(37, 4, unit),
        "size": "leaks",
        "family_size": "leaks",
        "rho": taught(0.6, 0.1),
        "family_rho": taught(0.5, 0.2),
        "outside_rho": taught(0.3, 0.2),
        "rho_by_seed": (sign * 0.6, sign * 0.5, sign * 0.7),
        "reliability": Estimate(0.9, 0.85, 0.95),
        "true_rho": taught(0.63, 0.1),
        "pseudo_p": 0.01,
        "family_pseudo_p": 0.02,
        "place": 1,
        "pretenders": 61,
        "cluster_p": 0.01,
        "clusters": 40,
        "shape": "gradient",
        "between": taught(12, 4, unit),
        "step": taught(10, 3, unit),
        "beyond_step": taught(12, 4, unit),
        "outside_beyond_step": taught(2, 4, unit),
        "needed": Needed(100.0, 200.0, math.inf),
    }
    return Evidence(**(said | fields))


def numbers_of(evidence, study="", along="geometry"):
    """The numbers of one source, as the rules take them."""
    told = blank(WordsOrGeometry, source="villain", verdict=along, reason="", threshold=0.5)
    slope = blank(MixedModel, rows=0, reason="left out")
    return SourceNumbers(study, evidence, evidence, None, None, told, slope, ())


def blank(record, **fields):
    """A record of which nothing is said but the fields given."""
    tuples = {each.name: () for each in dataclasses.fields(record) if "tuple" in str(each.type)}
    numbers = {each.name: NAN for each in dataclasses.fields(record)}
    return record(**(numbers | tuples | fields))


def tables_of(cell):
    """The tables of a cell behind its personas, as ``write_cell`` takes them."""
    return cell.curve, cell.before, cell.after, cell.margin_delta, cell.pairs
