"""How the tests and intervals of a source's evidence do where the truth is known."""

from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
from row import Row, share
from scipy import stats
from simulate import Geometry, answers, fields

from persona_leakage.analysis import two_way
from persona_leakage.analysis.best_predictor import adjusted_p
from persona_leakage.analysis.clustered import wild_cluster_p
from persona_leakage.analysis.equivalence import size_of
from persona_leakage.analysis.pseudo_source import pseudo_source
from persona_leakage.analysis.settle import Components, needed
from persona_leakage.analysis.shape import shape_of
from persona_leakage.data.catalog import SOURCES
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")
LEVEL = 0.05
SIZE = (0.02, 0.06)  # of the pseudo-source test


def sizes_of_rho(
    geometry: Geometry, studies: int, seed: int, only: str = "", resamples: int = 99
) -> Iterator[Row]:
    """Count how often damage that has nothing to do with the source looks as if it had.

    Parameters
    ----------
    geometry : Geometry
        Of the personas.
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    only : str
        Of the truths, those that hold this text.
    resamples : int
        Surrogates of a test.
    """
    for number, (truth, factor) in enumerate(fields(geometry).items()):
        if only not in truth:
            continue
        rng = np.random.default_rng([seed, number])
        p = np.array(
            [
                _tests(geometry, factor @ rng.standard_normal(len(factor)), study, resamples)
                for study in range(studies)
            ]
        )
        hits = (p <= LEVEL).T
        yield share("pseudo-source", truth, "p <= .05", hits[0], *SIZE)
        yield share("pseudo-source, family alone", truth, "p <= .05", hits[1], 0, SIZE[1])
        others = ("wild cluster bootstrap", "(bare rank)", "(permutation)")
        for name, each in zip(others, hits[2:], strict=True):
            yield share(name, truth, "p <= .05", each)


def _tests(geometry: Geometry, damage, study: int, resamples: int) -> list[float]:
    source = SOURCES[study % len(SOURCES)]
    change = pd.Series(damage, geometry.names).drop(source)
    family = geometry.family(source)
    standing, within = (
        pseudo_source(
            part,
            geometry.raw,
            source,
            family,
            geometry.clusters,
            -1,
            seed=study,
            resamples=resamples,
        )
        for part in (change, change[[name in family for name in change.index]])
    )
    toward = geometry.raw.loc[source, change.index].to_numpy()
    groups = [geometry.clusters[name] for name in change.index]
    place = standing.place / standing.pretenders
    return [
        standing.p,
        within.p,
        wild_cluster_p(toward, change.to_numpy(), groups, np.random.default_rng(study), 399),
        2 * min(place, 1 + 1 / standing.pretenders - place),
        float(stats.spearmanr(toward, change).pvalue),
    ]


def power_of_rho(geometry: Geometry, studies: int, seed: int, resamples: int = 99) -> Iterator[Row]:
    """Count how often damage in the source's family, the more the nearer, is found.

    Parameters
    ----------
    geometry : Geometry
        Of the personas.
    studies : int
        To simulate.
    seed : int
        Of all draws.
    resamples : int
        Surrogates of a test.
    """
    rng = np.random.default_rng(seed)
    hits = []
    for study in range(studies):
        source = SOURCES[study % len(SOURCES)]
        near = geometry.raw.loc[source].rank(pct=True).to_numpy()
        kin = np.array([name in geometry.family(source) for name in geometry.names])
        damage = -1.0 * kin * near + rng.normal(0, 0.2, len(near))
        hits.append(_tests(geometry, damage, study, resamples)[0] <= LEVEL)
    truth = "gradient within the source's family"
    yield share("pseudo-source", truth, "p <= .05", hits, 0.2, 1)


def _population(rng: np.random.Generator, personas: int, questions: int):
    """Personas and questions drawn at random: similarity, true damage, answers' changes."""
    similarity = rng.standard_normal(personas)
    damage = 0.06 * (-0.5 * similarity + rng.standard_normal(personas)) - 0.04
    rest = rng.normal(0, 0.35, (personas, questions)) + rng.normal(0, 0.15, questions)
    return similarity, damage, damage[:, None] + rest


def intervals(studies: int, seed: int, personas: int = 80, questions: int = 120) -> Iterator[Row]:
    """Count how often the two-way intervals hold what a wider population has.

    Parameters
    ----------
    studies : int
        To simulate.
    seed : int
        Of all draws.
    personas, questions : int
        Drawn in each.
    """
    rng = np.random.default_rng(seed)
    similarity, damage, _ = _population(rng, 100_000, 0)
    seen = damage + rng.normal(0, 0.35 / questions**0.5, len(damage))
    truth = {
        "mean change": -0.04,
        "rho": float(stats.spearmanr(similarity, seen).statistic),
        "disattenuated rho": float(stats.spearmanr(similarity, damage).statistic),
        "reliability": float(damage.var() / seen.var()),
    }
    covered = {name: [] for name in truth}
    means = []
    for study in range(studies):
        similarity, damage, change = _population(rng, personas, questions)
        drawn = two_way.resample(change, [np.arange(personas)], np.random.default_rng(study), 400)
        rho = two_way.rho_draws(drawn, similarity, [0])
        reliability, alone, own = two_way.reliability_draws(drawn, [0])
        found = {
            "mean change": two_way.percentile(*two_way.mean_draws(drawn, [0])),
            "rho": two_way.centred_percentile(*rho),
            "disattenuated rho": two_way.disattenuated(*rho, reliability, own),
            "reliability": two_way.percentile(reliability, alone),
        }
        for name, estimate in found.items():
            covered[name].append(estimate.low <= truth[name] <= estimate.high)
        means.append(found["disattenuated rho"].value)
    what = f"{personas} personas x {questions} questions drawn at random"
    for name, hits in covered.items():
        yield share(name, what, "95 % interval covers", hits, 0.93, 1)
    bias = float(np.mean(means)) - truth["disattenuated rho"]
    error = float(np.std(means)) / studies**0.5
    yield Row("disattenuated rho", what, "mean error", bias, -0.02, 0.02, studies, error)


def equivalence(studies: int, seed: int) -> Iterator[Row]:
    """Count how often a mean change that just counts is called none, and a small one.

    Parameters
    ----------
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    """
    rng = np.random.default_rng(seed)
    for mean, word, low, high in (
        (-0.05, "no leakage", 0.0, 0.06),
        (-0.05, "leaks", 0.0, 0.06),
        (-0.005, "no leakage", 0.8, 1.0),
        (-0.12, "leaks", 0.8, 1.0),
        (0.12, "opposite", 0.8, 1.0),
    ):
        hits = []
        for study in range(studies):
            damage = mean + rng.normal(0, 0.05, 60)
            change = damage[:, None] + rng.normal(0, 0.4, (60, 150)) + rng.normal(0, 0.15, 150)
            drawn = two_way.resample(change, [np.arange(60)], np.random.default_rng(study), 400)
            hits.append(size_of(two_way.mean_draws(drawn, [0])[1], ACCURACY) == word)
        truth = f"mean change {100 * mean:+.1f} pp"
        yield share("equivalence", truth, f'called "{word}"', hits, low, high)


Damage = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
SHAPES: dict[str, Damage] = {
    "step: relatives -20 pp": lambda near, kin, rng: -0.2 * kin,
    "step: the nearest third of the family -25 pp": lambda near, kin, rng: (
        -0.25 * (near > np.quantile(near[kin], 2 / 3))
    ),
    "gradient: -40 pp to 0 over the family": lambda near, kin, rng: (
        -0.4 * kin * (stats.rankdata(np.where(kin, near, -9)) - (~kin).sum()).clip(0) / kin.sum()
    ),
    "gradient: -40 pp to 0 over everyone": lambda near, kin, rng: (
        -0.4 * stats.rankdata(near) / len(near)
    ),
    "nothing": lambda near, kin, rng: np.zeros(len(near)),
}


def shapes(geometry: Geometry, studies: int, seed: int, questions: int = 200) -> Iterator[Row]:
    """Count how often a step is called a gradient, and the other way round.

    Parameters
    ----------
    geometry : Geometry
        Of the personas.
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    questions : int
        Asked in each.
    """
    for number, (truth, damage_of) in enumerate(SHAPES.items()):
        rng = np.random.default_rng([seed, number])
        called = []
        for study in range(studies):
            source = SOURCES[study % len(SOURCES)]
            others = [name for name in geometry.names if name != source]
            near = geometry.raw.loc[source, others].to_numpy()
            kin = np.array([name in geometry.family(source) for name in others])
            damage = damage_of(near, kin, rng) + rng.normal(0, 0.04, len(near)) + 0.02
            change = answers(damage, questions, rng)
            groups = [np.flatnonzero(kin), np.flatnonzero(~kin)]
            drawn = two_way.resample(change, groups, np.random.default_rng(study), 400)
            steps = shape_of(drawn, near, reach=1.0, direction=-1, by_similarity=False)
            called.append(steps.shape)
        kind = truth.split(":")[0]
        wrong = {"step": ["gradient"], "gradient": ["step", "none"]}.get(kind, ["step", "gradient"])
        right = "none" if kind == "nothing" else kind
        for words, low, high in ((wrong, 0.0, 0.1), ([right], 0.5, 1.0)):
            says = " or ".join(f'"{word}"' for word in words)
            hits = [word in words for word in called]
            yield share("step or gradient", truth, f"called {says}", hits, low, high)


def predictors(geometry: Geometry, studies: int, seed: int, count: int = 86) -> Iterator[Row]:
    """Count how often the best of many predictors without any connection is found.

    Parameters
    ----------
    geometry : Geometry
        Of the personas.
    studies : int
        To simulate of each kind.
    seed : int
        Of all draws.
    count : int
        Of the predictors.
    """
    factors = fields(geometry)
    groups = [geometry.clusters[name] for name in geometry.names]
    square = geometry.raw.to_numpy()
    smooth = factors["smooth: Gaussian kernel, wide"]
    truths = (
        ("no structure", False),
        ("families, ICC 0.5", False),
        ("smooth: Gaussian kernel, wide", False),
        ("families, ICC 0.5", True),
    )
    for number, (truth, held) in enumerate(truths):
        rng = np.random.default_rng([seed, number])
        best, bare = [], []
        for study in range(studies):
            damage = factors[truth] @ rng.standard_normal(len(square))
            table = pd.DataFrame(smooth @ rng.standard_normal((len(square), count)))
            given = rng.standard_normal((len(square), 2)) if held else None
            if given is not None:  # baseline and length make half of it
                damage, table = damage + given @ [1, 1], table.add(given[:, 0], axis=0)
            p = adjusted_p(table, damage, square, groups, given=given, seed=study, resamples=199)
            best.append(p.min() <= LEVEL)
            rho = np.abs(np.corrcoef(table.rank().T, stats.rankdata(damage))[-1, :-1]).max()
            bare.append(np.arctanh(rho) * (len(square) - 3) ** 0.5 > 1.96)
        what = f"best of {count}: p <= .05"
        truth += ", covariates held" if held else ""
        yield share("max-statistic", truth, what, best, 0, 0.07)
        yield share("(best interval)", truth, what, bare)


def what_would_settle(studies: int, seed: int) -> Iterator[Row]:
    """Count how often the number of personas that is asked for finds the effect.

    Parameters
    ----------
    studies : int
        To simulate.
    seed : int
        Of all draws.
    """
    rng = np.random.default_rng(seed)
    rho, questions = 0.4, 50
    parts = Components(persona=0.004, persona_seed=float("nan"), answer=0.2)
    people = int(needed(rho, parts, 40, questions, 1).personas)
    pearson = 2 * np.sin(np.pi * rho / 6)  # that makes Spearman's rho of normal variables
    found = []
    for _ in range(studies):
        x, rest = rng.standard_normal((2, people))
        damage = parts.persona**0.5 * (pearson * x + (1 - pearson**2) ** 0.5 * rest)
        seen = damage + rng.normal(0, (parts.answer / questions) ** 0.5, people)
        found.append(stats.spearmanr(x, seen).pvalue <= LEVEL)
    truth = f"rho .4, {people} personas x {questions} questions"
    yield share("what would settle it", truth, "p <= .05", found, 0.87, 0.93)
