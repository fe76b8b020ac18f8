"""Finished cells made up for tests: a gradient that is there, and everything a cell leaves."""

from dataclasses import asdict, replace
from functools import cache

import numpy as np
import pandas as pd
from conftest import ROOT

from persona_leakage.analysis.boundary import fit
from persona_leakage.report.published import analyse
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
            "relation": None,
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
    personas = persona_frame(seed, outcome=outcome)
    boundary = boundary_of(seed, outcome)
    sign = outcome.direction
    kinds = ("spearman_raw", "spearman_centred", "partial_raw", "pearson_raw")
    headline = {
        "source_before": 0.8,
        "source_after": 0.4,
        "source_delta": sign * 40.0,
        "bystander_delta": sign * 5.0,
        "unrelated_delta": 0.5,
        "negative_delta": 1.0,
        "condition_delta": NAN,
        "mass_before": 0.99,
        "mass_after": 0.98,
        "bystanders": 21.0,
        **dict.fromkeys(kinds, sign * 0.7),
        **{f"{kind}_p": 0.0001 for kind in kinds},
        **{f"{kind}_low": -0.9 for kind in kinds},
        **{f"{kind}_high": -0.4 for kind in kinds},
    }
    predictors = pd.DataFrame(
        [
            ("raw@15", sign * 0.7, 0.0, 0.0),
            ("words", sign * 0.3, 0.1, 0.5),
            ("mean", NAN, NAN, NAN),
        ],
        columns=["predictor", "rho", "difference_low", "difference_high"],
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
        questions=QuestionCounts(train=60, evaluate=50, near_duplicates=[]),
        audit=Audit(
            counts=[{"part": "source", "persona": source, "examples": 10, "correct": 0}],
            rendered={source: "<|im_start|>system\nYou are <b>bold</b>"},
            clashes=list(clashes),
        ),
        headline=headline | numbers,
        boundary=BoundaryResult(**asdict(boundary)),
        outliers=empty,
        predictors=titled(predictors, shown, "Which geometry predicts best"),
        categories=empty.model_copy(update={"title": "By category"}),
        benchmarks=empty.model_copy(update={"title": "By benchmark"}),
        diagnostics=(
            titled(
                pd.DataFrame(
                    [
                        {"role": "source", "share": 0.25, "hidden": 1},
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
    return FinishedCell(result, personas, curve, folder, study)


def with_rival(cell, low, high, rho=-0.6):
    """The cell, with the prompts' words differing from the cosine within this interval."""
    rows = list(cell.result.predictors.rows)
    rows[1] = rows[1] | {"rho": rho, "difference_low": low, "difference_high": high}
    table = cell.result.predictors.model_copy(update={"rows": tuple(rows)})
    return replace(cell, result=cell.result.model_copy(update={"predictors": table}))
