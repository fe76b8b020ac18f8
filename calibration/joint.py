"""How boundary, slope over seeds, and words against geometry do where the truth is known."""

from collections.abc import Iterator

import numpy as np
import pandas as pd
from row import OPEN, Row, share
from scipy.special import expit
from simulate import ROOT, Geometry, fields

from persona_leakage.analysis.boundary import SPAN, fit, log_width, outliers
from persona_leakage.analysis.question_model import persona_log_odds
from persona_leakage.analysis.robust import cluster_robust, from_parts
from persona_leakage.analysis.seeds import heterogeneity, mixed_model
from persona_leakage.analysis.words_or_geometry import TERMS, over_seeds, words_or_geometry
from persona_leakage.data.catalog import SOURCES, load_personas
from persona_leakage.data.families import shared_stems
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")
TRUE = {"midpoint": 0.95, "width": 0.03, "floor": 0.2, "ceiling": 0.85}
SIZE = (0, 0.06)  # of a test that may be careful, but not eager
WORDS = (0, 0.07)  # of the 2x2, whose errors few families tell


def boundary(studies: int, seed: int) -> Iterator[Row]:
    """Coverage of the boundary, size of the test of its fit, its outliers, and its widths.

    Parameters
    ----------
    studies : int
        To simulate of each kind; where five sources are compared, a fifth as many.
    seed : int
        Of all draws.
    """
    for personas, questions in ((30, 150), (30, 586), (110, 586)):
        rng = np.random.default_rng([seed, personas, questions])
        truth = f"a logistic boundary, {personas} personas x {questions} questions"
        covered: dict[str, list[bool]] = {"midpoint": [], "width": []}
        widths, refused, named = [], [], []
        for study in range(studies):
            asked = _bystanders(personas, questions, 0.0, rng)
            bound = fit(asked, ACCURACY, seed=study, resamples=300)
            refused.append(bound.fit_p < 0.05)
            if bound.reason is None:
                widths.append(log_width([bound]))
                named.append(not outliers(asked, bound, ACCURACY).empty)
                for name, hits in covered.items():
                    hits.append(bound.low[name] <= TRUE[name] <= bound.high[name])
        for name, hits in covered.items():
            yield share(f"boundary, {name}", truth, "covered", hits, 0.93, 0.97)
        yield share("boundary, test of the fit", truth, "refused", refused, *SIZE)
        yield share("outliers", truth, "one named", named, *SIZE)
        # every width in one comparison: drawn again, few of them would stand for many studies
        fives = [widths[at : at + 5] for at in range(0, len(widths) - 4, 5)]
        differ = [heterogeneity(*zip(*five, strict=True)).p < 0.05 for five in fives]
        yield share("widths of five sources", truth, "p < .05", differ, *SIZE)
    rng = np.random.default_rng([seed, 1])
    refused = [
        fit(_bystanders(110, 586, 0.06, rng), ACCURACY, seed=study, resamples=100).fit_p < 0.05
        for study in range(studies // 5)
    ]
    truth = "a logistic boundary that personas leave by 6 pp"
    yield share("boundary, test of the fit", truth, "refused", refused, 0.9, 1)


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


def slopes(real: Geometry, studies: int, seed: int) -> Iterator[Row]:
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
    for personas in (30, 110, 0):
        for between in (0.0, 0.05, 0.3):
            for icc in (0.0,) if personas else (0.0, 0.5):
                rng = np.random.default_rng([seed, personas, int(100 * between), int(10 * icc)])
                tables = [_changes(real, personas, between, icc, rng) for _ in range(studies)]
                who = f"{personas} personas" if personas else f"the real cosines, family ICC {icc}"
                truth = f"no slope; seeds' slopes with sd {between}, {who}"
                hits = [mixed_model(table).p < 0.05 for table in tables]
                yield share("slope over seeds", truth, "p < .05", hits, *SIZE)
                if personas:
                    hits = [_without_seeds(table) < 0.05 for table in tables]
                    yield share("(no slopes of seeds)", truth, "p < .05", hits)


def _without_seeds(table: pd.DataFrame) -> float:
    """P of the slope where all that differs between seeds is taken for noise of the personas."""
    means = table.groupby("persona", sort=False).mean(numeric_only=True)
    design = np.column_stack([np.ones(len(means)), means[["raw", "before", "prompt_length"]]])
    design[:, 1:] -= design[:, 1:].mean(axis=0)
    fitted = cluster_robust(design, means["logit_delta"].to_numpy(), range(len(means)))
    return from_parts(fitted.coefficients[1], [fitted.variances[1]], [fitted.freedom(1)])[1]


def from_answers(
    studies: int, seed: int, personas: int = 30, questions: int = 100
) -> Iterator[Row]:
    """Size and coverage of both stages of the slope: answers, log-odds, three seeds.

    Parameters
    ----------
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    personas, questions : int
        In each.
    """
    names = [f"p{number}" for number in range(personas)]
    grid = pd.MultiIndex.from_product([names, range(questions)], names=["persona", "question"])
    for slope in (0.0, -0.3):
        rng = np.random.default_rng([seed, int(-10 * slope)])
        missed = []
        for _ in range(studies):
            cosine = rng.uniform(0.9, 1, personas)
            difficulty = rng.normal(0, 1, questions)
            ability = rng.normal(0.6, 0.3, personas)
            about = rng.normal(0, 0.3, personas)

            before = _answers(ability, difficulty, grid, rng)
            parts = []
            for number in range(3):
                steep = 100 * (cosine - cosine.mean()) * rng.normal(slope, 0.05)
                level = ability + about + steep + rng.normal(-0.5, 0.2)
                after = _answers(level, difficulty, grid, rng)
                logits = persona_log_odds(before, after, names, ACCURACY)
                parts.append(
                    pd.DataFrame(
                        {
                            "persona": names,
                            "relation": None,
                            "seed": number,
                            "raw": cosine,
                            "before": before.groupby("persona", sort=False)["outcome"].mean()[
                                names
                            ],
                            "prompt_length": rng.integers(20, 90, personas),
                            "logit_delta": logits["logit_delta"],
                        }
                    )
                )
            fitted = mixed_model(pd.concat(parts, ignore_index=True))
            missed.append(not fitted.low <= slope <= fitted.high)
        truth = f"answers of {personas} personas x {questions} questions x 3 seeds, slope {slope}"
        yield share("slope over seeds", truth, "interval misses it", missed, *SIZE)


def _answers(level, difficulty, grid, rng) -> pd.DataFrame:
    right = rng.random((len(level), len(difficulty))) < expit(level[:, None] - difficulty)
    return pd.DataFrame({"outcome": right.astype(float).ravel()}, grid).reset_index()


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


def words(real: Geometry, studies: int, seed: int, only: str = "") -> Iterator[Row]:
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
    personas = load_personas(ROOT / "catalog")
    pairs = real.centred.rename_axis(index="source", columns="persona").stack()
    pairs = pairs.rename("centred").reset_index()
    kinds = fields(real)
    for number, (truth, factor) in enumerate(kinds.items()):
        if only not in truth:
            continue
        rng = np.random.default_rng([seed, number])
        results = [
            _concluded(
                real,
                personas,
                pairs,
                SOURCES[study % len(SOURCES)],
                3 * factor @ rng.standard_normal(len(factor)),
                rng,
            )
            for study in range(studies)
        ]
        yield from _judged(results, truth)
    truth = "families, ICC 0.5"
    if only in f"{truth}, 3 seeds":
        rng = np.random.default_rng([seed, 98])
        results = []
        for study in range(studies // 3):
            damage = 2 * kinds[truth] @ rng.standard_normal(len(real.names))
            source = SOURCES[study % len(SOURCES)]
            results.append(
                over_seeds(
                    [
                        _concluded(
                            real,
                            personas,
                            pairs,
                            source,
                            damage + 2 * kinds[truth] @ rng.standard_normal(len(damage)),
                            rng,
                        )
                        for _ in range(3)
                    ],
                    ACCURACY,
                )
            )
        yield from _judged(results, f"{truth}, 3 seeds")
    for truth, least in (("words", 0.8), ("geometry", 0.8), ("both", 0.6)):
        if only not in truth:
            continue
        rng = np.random.default_rng([seed, 99, len(truth)])
        right = []
        for study in range(studies // 2):
            source = SOURCES[study % len(SOURCES)]
            prompt = _prompt(personas, source)
            has = np.array([shared_stems(prompt, _prompt(personas, n)) > 0 for n in real.names])
            near = expit(12 * (real.centred.loc[source].to_numpy() - 0.75))
            damage = -25 * {"words": has, "geometry": near, "both": 0.5 * (has + near)}[truth]
            damage = damage + rng.normal(0, 3, len(damage))
            right.append(_concluded(real, personas, pairs, source, damage, rng).verdict == truth)
        yield share(
            "words or geometry", f"25 pp by {truth}", f"the verdict '{truth}'", right, least, OPEN
        )


def _judged(results, truth: str) -> Iterator[Row]:
    for term in TERMS:
        p = [
            e.p for each in results for e in each.effects if (e.term, e.scale) == (term, "persona")
        ]
        hits = [each < 0.05 for each in p]
        yield share(f"words or geometry: {term}", truth, "p < .05", hits, *WORDS)
    told = [each.verdict != "cannot tell" for each in results]
    yield share("words or geometry", truth, "a verdict", told, *WORDS)


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
