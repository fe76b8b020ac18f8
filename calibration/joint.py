"""How boundary, slope over seeds, and words against geometry do where the truth is known."""

import numpy as np
import pandas as pd
from row import OPEN, Row
from scipy.special import expit
from simulate import ROOT, Geometry, fields

from persona_leakage.analysis.boundary import SPAN, fit, log_width, outliers
from persona_leakage.analysis.seeds import heterogeneity, mixed_model
from persona_leakage.analysis.words_or_geometry import TERMS, words_or_geometry
from persona_leakage.data.catalog import SOURCES, load_personas
from persona_leakage.data.families import shared_stems
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")
TRUE = {"midpoint": 0.95, "width": 0.03, "floor": 0.2, "ceiling": 0.85}


def boundary(studies: int, seed: int) -> list[Row]:
    """Coverage of the boundary, size of the test of its fit, its outliers, and its widths.

    Parameters
    ----------
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    """
    rows = []
    for personas, questions in ((30, 150), (30, 586), (110, 586)):
        rng = np.random.default_rng([seed, personas, questions])
        truth = f"a logistic boundary, {personas} personas x {questions} questions"
        covered, widths, refused, named = dict.fromkeys(TRUE, 0), [], 0, 0
        for study in range(studies):
            asked = _bystanders(personas, questions, 0.0, rng)
            bound = fit(asked, ACCURACY, seed=study, resamples=300)
            refused += bound.fit_p < 0.05
            if bound.reason is None:
                widths.append(log_width([bound]))
                named += not outliers(asked, bound, ACCURACY).empty
                for name, value in TRUE.items():
                    covered[name] += bound.low[name] <= value <= bound.high[name]
        count = len(widths)
        for name in ("midpoint", "width"):
            share = covered[name] / count
            rows.append(Row(f"boundary, {name}", truth, "covered", share, 0.93, 0.97, count))
        rows.append(
            Row("boundary, test of the fit", truth, "refused", refused / studies, 0, 0.06, studies)
        )
        rows.append(Row("outliers", truth, "one named", named / count, 0, 0.06, count))
        drawn = [rng.choice(count, 5, replace=False) for _ in range(studies)]
        differ = np.mean(
            [
                heterogeneity(*zip(*(widths[i] for i in five), strict=True)).p < 0.05
                for five in drawn
            ]
        )
        rows.append(
            Row("widths of five sources", truth, "p < .05", float(differ), 0, 0.06, studies)
        )
    rng = np.random.default_rng([seed, 1])
    refused = np.mean(
        [
            fit(_bystanders(110, 586, 0.06, rng), ACCURACY, seed=i, resamples=100).fit_p < 0.05
            for i in range(studies // 2)
        ]
    )
    truth = "a logistic boundary that personas leave by 6 pp"
    rows.append(
        Row("boundary, test of the fit", truth, "refused", float(refused), 0.9, 1, studies // 2)
    )
    return rows


def _bystanders(personas, questions, spread, rng) -> pd.DataFrame:
    cosine = rng.uniform(0.88, 0.995, personas)
    near = expit((TRUE["midpoint"] - cosine) * SPAN / TRUE["width"])
    level = TRUE["floor"] + (TRUE["ceiling"] - TRUE["floor"]) * near
    level = np.clip(level + rng.normal(0, spread, personas), 0.01, 0.99)
    return pd.DataFrame(
        {
            "persona": [f"p{number}" for number in range(personas)],
            "category": "unrelated",
            "raw": cosine,
            "after": rng.binomial(questions, level) / questions,
            "questions": questions,
        }
    )


def slopes(real: Geometry, studies: int, seed: int) -> list[Row]:
    """Size of the slope over three seeds, however much seeds' slopes and families differ.

    Parameters
    ----------
    real : Geometry
        For cosines and families as they are.
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    """
    rows = []
    for personas in (30, 110, 0):
        for between in (0.0, 0.05, 0.3):
            for icc in (0.0,) if personas else (0.0, 0.5):
                rng = np.random.default_rng([seed, personas, int(100 * between), int(10 * icc)])
                found = 0
                for _ in range(studies if personas else studies // 4):
                    found += mixed_model(_changes(real, personas, between, icc, rng)).p < 0.05
                count = studies if personas else studies // 4
                who = f"{personas} personas" if personas else f"the real cosines, family ICC {icc}"
                truth = f"no slope; seeds' slopes with sd {between}, {who}"
                rows.append(
                    Row("slope over seeds", truth, "p < .05", found / count, 0.01, 0.07, count)
                )
    return rows


def _changes(real, personas, between, icc, rng) -> pd.DataFrame:
    if personas:
        cosine, clusters = rng.uniform(0.9, 1, personas), np.arange(personas)
        relation: list[str | None] = [None] * personas
    else:
        names = [name for name in real.names if name != "villain"]
        cosine = real.raw.loc["villain", names].to_numpy()
        relation = [real.clusters[name] for name in names]
        clusters = pd.factorize(pd.Series(relation))[0]
    count = len(cosine)
    shared = rng.normal(size=clusters.max() + 1)[clusters]
    effect = 0.5 * (np.sqrt(icc) * shared + np.sqrt(1 - icc) * rng.normal(size=count))
    same = {
        "persona": [f"p{number}" for number in range(count)],
        "relation": relation,
        "raw": cosine,
        "before": rng.uniform(0.5, 0.7, count),
        "prompt_length": rng.integers(20, 90, count),
    }
    parts = []
    for number in range(3):
        line = rng.normal(0, 0.3) + 100 * (cosine - cosine.mean()) * rng.normal(0, between)
        change = line + effect + rng.normal(0, 0.2, count)
        parts.append(pd.DataFrame(same).assign(seed=number, logit_delta=change))
    return pd.concat(parts)


def words(real: Geometry, studies: int, seed: int, only: str = "") -> list[Row]:
    """See what is concluded where neither is at work, where words are, where geometry is, and both.

    Parameters
    ----------
    real : Geometry
        For families, prompts and cosines as they are.
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    only : str
        Of the truths, those that hold this text.
    """
    rows = []
    personas = load_personas(ROOT / "catalog")
    pairs = real.centred.rename_axis(index="source", columns="persona").stack()
    pairs = pairs.rename("centred").reset_index()
    for number, (truth, factor) in enumerate(fields(real).items()):
        if only and only not in truth:
            continue
        rng = np.random.default_rng([seed, number])
        found = np.zeros(len(TERMS) + 1)
        for study in range(studies):
            source = SOURCES[study % len(SOURCES)]
            damage = 3 * factor @ rng.standard_normal(len(factor))
            result = _concluded(real, personas, pairs, source, damage, rng)
            p = {each.term: each.p for each in result.effects if each.scale == "persona"}
            found += [*(p[term] < 0.05 for term in TERMS), result.verdict != "cannot tell"]
        for term, count in zip(TERMS, found, strict=False):
            rows.append(
                Row(
                    f"words or geometry: {term}",
                    truth,
                    "p < .05",
                    count / studies,
                    0,
                    0.07,
                    studies,
                )
            )
        rows.append(
            Row("words or geometry", truth, "a verdict", found[-1] / studies, 0, 0.07, studies)
        )
    for truth in ("words", "geometry", "both"):
        if only and only != truth:
            continue
        rng = np.random.default_rng([seed, 99, len(truth)])
        right = 0
        for study in range(studies // 2):
            source = SOURCES[study % len(SOURCES)]
            has = np.array(
                [
                    shared_stems(_prompt(personas, source), _prompt(personas, n)) > 0
                    for n in real.names
                ]
            )
            cosine = real.centred.loc[source].to_numpy()
            near = expit(12 * (cosine - 0.75))
            damage = -25 * {"words": has, "geometry": near, "both": 0.5 * (has + near)}[truth]
            damage = damage + rng.normal(0, 3, len(damage))
            right += _concluded(real, personas, pairs, source, damage, rng).verdict == truth
        rows.append(
            Row(
                "words or geometry",
                f"25 pp by {truth}",
                f"the verdict '{truth}'",
                right / (studies // 2),
                0.8 if truth != "both" else 0.6,
                OPEN,
                studies // 2,
            )
        )
    return rows


def _prompt(personas, name) -> str:
    return personas[name].prompt or ""


def _concluded(real, personas, pairs, source, damage, rng):
    names = [n for n in real.names if personas[n].category != "condition"]
    at = [real.names.index(name) for name in names]
    table = pd.DataFrame(
        {
            "persona": names,
            "role": ["source" if name == source else "bystander" for name in names],
            "before": 0.6 + rng.normal(0, 0.01, len(names)),
            "prompt_length": [len(_prompt(personas, name)) for name in names],
            "delta": damage[at],
        }
    )
    return words_or_geometry(table, pairs, personas, source, ACCURACY)
