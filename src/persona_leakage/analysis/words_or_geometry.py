"""Whether personas go wrong with a source for its words, or for its place in the geometry.

Personas written around the source part the two: paraphrases are near it without its words, decoys
have its words in another character, near-twins have both, everyone else neither.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats

from persona_leakage.analysis.estimate import UNKNOWN, Estimate
from persona_leakage.analysis.ranks import Floats, constant, levels
from persona_leakage.analysis.robust import cluster_robust, from_parts
from persona_leakage.data.catalog import Persona
from persona_leakage.data.families import content_overlap, shared_stems
from persona_leakage.study.outcome import Outcome

KINDS = ("paraphrase", "decoy", "near-twin")
FEWEST = 3  # personas of a kind, or in a cell of the cross
FEWEST_PLACEBOS = 3  # families of other sources, to know what a family's effect is by chance
TERMS = ("words", "geometry", "together")
SCALES = {"persona": "delta", "question": "logit_delta", "margin": "margin_delta"}

Verdict = Literal["words", "geometry", "both", "cannot tell"]


@dataclass(frozen=True)
class CrossCell:
    """One of the four cells of words by geometry, as the bystanders fill it.

    Attributes
    ----------
    words, near : bool
        Whether they share a content word with the source, and whether the base model holds them
        near to it.
    personas : int
        How many.
    cosine : float
        Their mean centred cosine to the source.
    delta, low, high : float
        Their mean change in the outcome's unit, with a 95 % interval over personas.
    """

    words: bool
    near: bool
    personas: int
    cosine: float
    delta: float
    low: float
    high: float


@dataclass(frozen=True)
class KindOfFamily:
    """The paraphrases, decoys or near-twins of the source, as the base model places them.

    Attributes
    ----------
    kind : str
        Of ``KINDS``.
    personas, near : int
        How many were never trained, and how many of them are near to the source.
    cosine, delta : float
        Mean centred cosine, and mean change in the outcome's unit.
    """

    kind: str
    personas: int
    near: int
    cosine: float
    delta: float


@dataclass(frozen=True)
class Effect:
    """What words, geometry, or both together do to a bystander.

    Attributes
    ----------
    term : str
        ``words``: having them, mean over near and far. ``geometry``: being near, mean over those
        with and without the words. ``together``: by how much more the words do to the near than to
        the far. ``words given geometry``, ``geometry given words``: partial rank correlations.
    scale : str
        ``persona``: the outcome's unit; ``question``: log-odds of the crossed persona x question
        model; ``margin``: nats of the right choice's log-odds; ``rank``: a rank correlation
        (``low`` and ``high`` too; ``error`` and ``between`` are of its Fisher transform).
    estimate, low, high : float
        With a 95 % interval.
    p : float
        Two-sided.
    error, error_df : float
        Standard error over personas, and its degrees of freedom.
    between, placebos : float, int
        Root mean square of what the families of other sources, which nobody trained, seem to do;
        and how many they are.
    """

    term: str
    scale: str
    estimate: float
    low: float
    high: float
    p: float
    error: float
    error_df: float
    between: float
    placebos: int


@dataclass(frozen=True)
class WordsOrGeometry:
    """Words against geometry, for one source.

    Attributes
    ----------
    source : str
        The persona trained to show the behaviour.
    seeds : int
        How many cells of it stand behind the numbers.
    threshold : float
        Centred cosine above which a persona is near: half-way between the median paraphrase and the
        median decoy, on the base model alone. Not a number where the source has no such family.
    cells : tuple of CrossCell
        Words and near, words and far, near without words, neither.
    kinds : tuple of KindOfFamily
        Of the source's family.
    effects : tuple of Effect
        ``TERMS`` on every scale that was measured.
    partial : tuple of Effect
        Both partial rank correlations.
    verdict : {"words", "geometry", "both", "cannot tell"}
        What bystanders go wrong with, by the intervals of ``effects``.
    reason : str
        Why, in one sentence.
    """

    source: str
    seeds: int
    threshold: float
    cells: tuple[CrossCell, ...]
    kinds: tuple[KindOfFamily, ...]
    effects: tuple[Effect, ...]
    partial: tuple[Effect, ...]
    verdict: Verdict
    reason: str


def words_or_geometry(
    table: pd.DataFrame,
    pairs: pd.DataFrame,
    personas: Mapping[str, Persona],
    source: str,
    outcome: Outcome,
) -> WordsOrGeometry:
    """Tell what bystanders of a cell go wrong with: the source's words, its geometry, or both.

    Least squares over bystanders: ``change ~ words + near + words:near + the cosine within near
    and within far + baseline + prompt length``, the first two coded -1/2 and 1/2. All who have the
    source's words are of its family, so that errors clustered by family, by formula or by
    resampling of families, know nothing of what a family has in common (MacKinnon & Webb 2017: few
    treated clusters). The families of the *other* sources do: nobody trained those sources here, so
    what their words and their geometry seem to do to their relatives is what a family's effect is
    by chance (in-space placebos: Abadie, Diamond & Hainmueller 2010). An effect's variance is that
    over personas (HC2) or the placebos' mean square, whichever is larger, with no more degrees of
    freedom than there are placebos.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``: ``persona``, ``role``, ``before``, ``prompt_length``, ``delta``, and
        where they were measured ``logit_delta``, ``margin_delta``.
    pairs : DataFrame
        Of ``cosines.table`` at one layer: ``source``, ``persona``, ``centred``, of all pairs.
    personas : mapping of str to Persona
        By name.
    source : str
        The source trained.
    outcome : Outcome
        Its direction.

    Returns
    -------
    WordsOrGeometry
        With the verdict ``cannot tell`` where a cell of the cross, or the other families, are too
        few.
    """
    bystanders = table[table["role"] == "bystander"].reset_index(drop=True)
    centred = pairs.pivot(index="source", columns="persona", values="centred")
    own = _crossed(bystanders, centred, personas, source)
    if own is None:
        kinds = " and ".join(f"{kind}s" for kind in KINDS[:2])
        return _cannot_tell(
            source, f"{source} has fewer than {FEWEST} {kinds} among the bystanders"
        )
    threshold, crossed = own
    cells = tuple(_cell(crossed, words, near) for words in (True, False) for near in (True, False))
    kinds_filled = tuple(_kind(crossed, kind, source, personas) for kind in KINDS)
    placebos = [
        frame
        for other in dict.fromkeys(p.relation for p in personas.values() if p.relation)
        if other not in (source, personas[source].relation)
        if (frame := _placebo(bystanders, centred, personas, source, other)) is not None
    ]
    effects = tuple(
        effect
        for scale, column in SCALES.items()
        if column in crossed and np.isfinite(crossed[column].to_numpy(float)).all()
        for effect in _effects(crossed, placebos, scale, column)
    )
    partial = _partials(crossed, placebos)
    verdict, reason = _verdict(cells, effects, len(placebos), outcome)
    return WordsOrGeometry(
        source, 1, threshold, cells, kinds_filled, effects, partial, verdict, reason
    )


def over_seeds(results: Sequence[WordsOrGeometry], outcome: Outcome) -> WordsOrGeometry:
    """Combine the seeds of one source: what another seed would give is part of the error.

    Estimates are means over seeds. Seeds share their personas and families, so that these errors
    stay as they are; the seeds' own variance is added (Holmes & Friston 1998).

    Parameters
    ----------
    results : sequence of WordsOrGeometry
        Of one source, one per seed; those that could not be crossed are left out.
    outcome : Outcome
        Its direction.
    """
    crossed = [each for each in results if each.cells]
    if len(crossed) < 2:
        return (crossed or list(results))[0]
    cells = tuple(_mean_cell(same) for same in zip(*(r.cells for r in crossed), strict=True))
    kinds = tuple(
        KindOfFamily(
            same[0].kind,
            round(float(np.mean([k.personas for k in same]))),
            round(float(np.mean([k.near for k in same]))),
            float(np.mean([k.cosine for k in same])),
            float(np.mean([k.delta for k in same])),
        )
        for same in zip(*(r.kinds for r in crossed), strict=True)
    )
    effects = tuple(_mean_effect(same) for same in zip(*(r.effects for r in crossed), strict=True))
    partial = tuple(_mean_effect(same) for same in zip(*(r.partial for r in crossed), strict=True))
    placebos = min((effect.placebos for effect in effects), default=0)
    verdict, reason = _verdict(cells, effects, placebos, outcome)
    return WordsOrGeometry(
        crossed[0].source,
        len(crossed),
        float(np.mean([r.threshold for r in crossed])),
        cells,
        kinds,
        effects,
        partial,
        verdict,
        reason,
    )


def _cannot_tell(source: str, reason: str) -> WordsOrGeometry:
    return WordsOrGeometry(source, 1, float("nan"), (), (), (), (), "cannot tell", reason)


def _crossed(
    bystanders: pd.DataFrame,
    centred: pd.DataFrame,
    personas: Mapping[str, Persona],
    family: str,
) -> tuple[float, pd.DataFrame] | None:
    """Class bystanders by the words and the geometry of a family's source.

    Returns
    -------
    tuple or None
        The threshold, and the bystanders (but for the family's source) with ``words``, ``near``
        (bool), ``cosine`` and ``overlap``. ``None`` without ``FEWEST`` paraphrases and decoys.
    """
    prompt = personas[family].prompt if family in personas else None
    if not prompt or family not in centred.index:
        return None
    frame = bystanders[bystanders["persona"] != family].copy()
    frame["cosine"] = centred.loc[family].reindex(frame["persona"]).to_numpy(float)
    written = {
        kind: frame[
            [
                personas[name].category == kind and personas[name].relation == family
                for name in frame["persona"]
            ]
        ]
        for kind in KINDS[:2]
    }
    if min(map(len, written.values())) < FEWEST or not np.isfinite(frame["cosine"]).all():
        return None
    threshold = float(np.mean([rows["cosine"].median() for rows in written.values()]))
    prompts = [personas[name].prompt or "" for name in frame["persona"]]
    frame["words"] = [shared_stems(prompt, each) > 0 for each in prompts]
    frame["overlap"] = [content_overlap(prompt, each) for each in prompts]
    frame["near"] = frame["cosine"] > threshold
    return threshold, frame


def _placebo(
    bystanders: pd.DataFrame,
    centred: pd.DataFrame,
    personas: Mapping[str, Persona],
    source: str,
    other: str,
) -> pd.DataFrame | None:
    """Class bystanders by another source, as if that one had been trained; its family is left."""
    relations = bystanders["persona"].map(lambda name: personas[name].relation)
    outside = bystanders[relations != personas[source].relation]
    crossed = _crossed(outside, centred, personas, other)
    return None if crossed is None else crossed[1]


def _design(frame: pd.DataFrame) -> Floats:
    """Intercept, the three ``TERMS``, and what is held constant; columns that vary."""
    words, near = (frame[name].to_numpy(float) - 0.5 for name in ("words", "near"))
    cosine = frame["cosine"].to_numpy(float)
    within = []
    for here in (near > 0, near < 0):
        within.append(np.where(here, cosine - cosine[here].mean() if here.any() else 0.0, 0.0))
    given = [frame[name].to_numpy(float) for name in ("before", "prompt_length")]
    given = [(each - each.mean()) / each.std() for each in given if not constant(each)]
    within = [each for each in within if not constant(each)]
    return np.column_stack([np.ones(len(frame)), words, near, words * near, *within, *given])


def _effects(
    crossed: pd.DataFrame, placebos: Sequence[pd.DataFrame], scale: str, column: str
) -> list[Effect]:
    """Estimate the three terms, against those of the placebo families."""
    fitted = [
        cluster_robust(_design(frame), frame[column].to_numpy(float), range(len(frame)))
        for frame in (crossed, *placebos)
        if _filled(frame)
    ]
    if not _filled(crossed) or fitted[0] is None:
        return []
    own, others = fitted[0], [each for each in fitted[1:] if each is not None]
    effects = []
    for number, term in enumerate(TERMS, start=1):
        apart = [float(each.coefficients[number]) for each in others]
        effects.append(
            _effect(
                term,
                scale,
                float(own.coefficients[number]),
                float(own.variances[number]),
                own.freedom(number),
                apart,
            )
        )
    return effects


def _effect(
    term: str,
    scale: str,
    estimate: float,
    variance: float,
    freedom: float,
    placebos: Sequence[float],
) -> Effect:
    """Judge an estimate by its own variance and by the same estimates of placebos."""
    count = len(placebos)
    between = float(np.mean(np.square(placebos))) if count else float("nan")
    found, p = _interval(estimate, variance, freedom, between, count, 0.0, 1)
    return Effect(
        term,
        scale,
        estimate,
        found.low,
        found.high,
        p,
        float(np.sqrt(variance)),
        freedom,
        float(np.sqrt(between)),
        count,
    )


def _interval(
    estimate: float,
    variance: float,
    freedom: float,
    between: float,
    placebos: int,
    over_seeds: float,
    seeds: int,
) -> tuple[Estimate, float]:
    """Take the larger of what personas and placebos say, beside what seeds say.

    The placebos' mean square holds the noise of their personas too, so that it is not added to the
    variance over personas. They are few, and look small by chance in one study of many: degrees of
    freedom stay those of the placebos even where the personas' variance is the larger one.
    """
    if placebos < FEWEST_PLACEBOS:
        return UNKNOWN, float("nan")
    return from_parts(
        estimate,
        [max(variance, between), over_seeds],
        [min(freedom, placebos), max(seeds - 1, 1)],
    )


def _filled(frame: pd.DataFrame) -> bool:
    """Whether each of the four cells has ``FEWEST`` personas."""
    counts = frame.groupby(["words", "near"]).size()
    return len(counts) == 4 and int(counts.min()) >= FEWEST


def _partials(crossed: pd.DataFrame, placebos: Sequence[pd.DataFrame]) -> tuple[Effect, ...]:
    """Rank correlations of the change with overlap given cosine, and with cosine given overlap."""
    effects = []
    for term, side, other in (
        ("words given geometry", "overlap", "cosine"),
        ("geometry given words", "cosine", "overlap"),
    ):
        (own, freedom), *apart = (_partial(frame, side, other) for frame in (crossed, *placebos))
        known = [z for z, _ in apart if np.isfinite(z)]
        effect = _effect(term, "rank", own, 1 / freedom, freedom, known)
        rho, low, high = np.tanh([effect.estimate, effect.low, effect.high]).tolist()
        effects.append(
            Effect(
                term,
                "rank",
                rho,
                low,
                high,
                effect.p,
                effect.error,
                effect.error_df,
                effect.between,
                effect.placebos,
            )
        )
    return tuple(effects)


def _partial(frame: pd.DataFrame, side: str, other: str) -> tuple[float, float]:
    """Fisher's z of the partial rank correlation with the change, and one over its variance.

    Given the other side, the baseline and the prompt's length (Kendall & Stuart 1979, chapter 27).
    """
    names = ["delta", side, other, "before", "prompt_length"]
    columns = [frame[name].to_numpy(float) for name in names]
    if any(constant(each) for each in columns[:2]):
        return float("nan"), 1.0
    ranks = [stats.rankdata(levels(each)) for each in columns if not constant(each)]
    given = np.column_stack([np.ones(len(frame)), *ranks[2:]])
    sides = np.column_stack(ranks[:2])
    left = sides - given @ np.linalg.lstsq(given, sides, rcond=None)[0]
    r = float(np.corrcoef(left.T)[0, 1])
    return float(np.arctanh(np.clip(r, -1 + 1e-9, 1 - 1e-9))), max(
        len(frame) - 3.0 - (given.shape[1] - 1), 1.0
    )


def _cell(frame: pd.DataFrame, words: bool, near: bool) -> CrossCell:
    here = frame[(frame["words"] == words) & (frame["near"] == near)]
    delta = here["delta"].to_numpy(float)
    mean = float(delta.mean()) if len(delta) else float("nan")
    reach = float("nan")
    if len(delta) > 1:
        reach = float(stats.t.isf(0.025, len(delta) - 1) * delta.std(ddof=1) / np.sqrt(len(delta)))
    cosine = float(here["cosine"].mean())
    return CrossCell(words, near, len(here), cosine, mean, mean - reach, mean + reach)


def _kind(
    frame: pd.DataFrame, kind: str, source: str, personas: Mapping[str, Persona]
) -> KindOfFamily:
    chosen = [
        personas[name].category == kind and personas[name].relation == source
        for name in frame["persona"]
    ]
    here = frame[chosen]
    return KindOfFamily(
        kind,
        len(here),
        int(here["near"].sum()),
        float(here["cosine"].mean()),
        float(here["delta"].mean()),
    )


def _mean_cell(same: Sequence[CrossCell]) -> CrossCell:
    means = (float(np.mean([getattr(c, n) for c in same])) for n in ("cosine", "delta"))
    ends = (float(np.mean([getattr(c, n) for c in same])) for n in ("low", "high"))
    count = round(float(np.mean([cell.personas for cell in same])))
    return CrossCell(same[0].words, same[0].near, count, *means, *ends)


def _mean_effect(same: Sequence[Effect]) -> Effect:
    first, seeds = same[0], len(same)
    ranked = first.scale == "rank"
    values = np.array([each.estimate for each in same])
    values = np.arctanh(values) if ranked else values
    variance = float(np.mean([each.error**2 for each in same]))
    between = float(np.mean([each.between**2 for each in same]))
    freedom = float(np.mean([each.error_df for each in same]))
    placebos = min(each.placebos for each in same)
    estimate, over = float(values.mean()), float(values.var(ddof=1)) / seeds
    found, p = _interval(estimate, variance, freedom, between, placebos, over, seeds)
    shown = [estimate, found.low, found.high]
    estimate, low, high = np.tanh(shown).tolist() if ranked else shown
    return Effect(
        first.term,
        first.scale,
        estimate,
        low,
        high,
        p,
        float(np.sqrt(variance)),
        freedom,
        float(np.sqrt(between)),
        placebos,
    )


def _verdict(
    cells: Sequence[CrossCell], effects: Sequence[Effect], placebos: int, outcome: Outcome
) -> tuple[Verdict, str]:
    """Judge from the intervals, in the behaviour's direction, on persona and question level."""
    for cell in cells:
        if cell.personas < FEWEST:
            side = f"{'share' if cell.words else 'do not share'} the source's words"
            place = "near" if cell.near else "far"
            return "cannot tell", f"{cell.personas} bystanders {side} and are {place}"
    if not effects:
        return "cannot tell", "words, geometry and what is held constant cannot be told apart"
    if placebos < FEWEST_PLACEBOS:
        return "cannot tell", (
            f"{placebos} families of other sources were asked, and {FEWEST_PLACEBOS} are needed to "
            "know what a family does by chance"
        )
    matters = {
        term: all(
            outcome.direction * (each.low if outcome.direction > 0 else each.high) > 0
            for each in effects
            if each.term == term and each.scale in ("persona", "question")
        )
        for term in TERMS
    }
    shown = {each.term: each for each in effects if each.scale == "persona"}
    said = {
        term: f"{each.estimate:+.1f} {outcome.unit} [{each.low:+.1f}, {each.high:+.1f}]"
        for term, each in shown.items()
    }
    numbers = f"the words make {said['words']}, nearness {said['geometry']}"
    if matters["together"]:
        numbers += f", and the words {said['together']} more among the near than among the far"
    if matters["words"] and matters["geometry"]:
        return "both", numbers
    if matters["words"]:
        return "words", numbers
    return ("geometry" if matters["geometry"] else "cannot tell"), numbers
