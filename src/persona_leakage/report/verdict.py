"""The answer to "does leakage follow the cosine gradient?": rules over numbers, no sentences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import pandas as pd

from persona_leakage.analysis.seeds import MixedModel
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import BoundaryResult

Answer = Literal["supported", "partly supported", "not supported", "open"]
Confidence = Literal["high", "moderate", "low"]

LEAST_MOVE = 0.1  # of the outcome's range; a source that moved by less says nothing of leakage
LEAST_RHO = 0.5
GRADIENT_P = 0.01
HELD_P = 0.05
ENOUGH_SEEDS = 3
RIVALS = ("noun", "words", "tfidf", "characters")


@dataclass(frozen=True)
class SourceNumbers:
    """What the rules are applied to: one source, one setting, every seed once.

    Attributes
    ----------
    source, study : str
        Whose numbers; the study is empty where the report has only one setting.
    headline : DataFrame
        One row per seed: ``source_delta``, ``unrelated_delta``, ``bystanders``, and rho and p of
        ``spearman_raw``, ``spearman_centred``, ``partial_raw``.
    predictors : DataFrame
        One row per seed and predictor: ``seed``, ``predictor``, ``rho``, ``difference_low``,
        ``difference_high``.
    boundaries : sequence of BoundaryResult
        One per seed, in the order of ``headline``.
    slope : MixedModel or None
        Over all seeds.
    """

    source: str
    study: str
    headline: pd.DataFrame
    predictors: pd.DataFrame
    boundaries: Sequence[BoundaryResult]
    slope: MixedModel | None


@dataclass(frozen=True)
class Span:
    """The least and the greatest of some numbers.

    Attributes
    ----------
    low, high : float
        In the numbers' own unit.
    """

    low: float
    high: float


@dataclass(frozen=True)
class Held:
    """On how many seeds a correlation has the gradient's sign with p < 0.05.

    Attributes
    ----------
    rho : Span
        Over the seeds.
    seeds : int
        That many.
    """

    rho: Span
    seeds: int


@dataclass(frozen=True)
class Rival:
    """How well the prompts' words alone predict.

    Attributes
    ----------
    rho : Span
        Spearman's, of the words' predictor and change.
    seeds : int
        On which it could be computed.
    worse : int
        Of these, on how many the cosine is better beyond its bootstrap interval.
    """

    rho: Span
    seeds: int
    worse: int

    @property
    def beaten(self) -> bool:
        """Whether the cosine is better on most seeds."""
        return self.worse > self.seeds / 2


@dataclass(frozen=True)
class Evidence:
    """What one source contributes.

    Attributes
    ----------
    source, study : str
        As in ``SourceNumbers``.
    seeds : int
        Seeds that were trained.
    moved : int
        Of these, on how many the source took up the behaviour. The numbers below are over them,
        or over all seeds when there are none.
    supporting : int
        Of ``moved``, how many show the gradient.
    source_change, unrelated_change : float
        Means, in the outcome's unit.
    bystanders : int
        Personas that were never trained.
    rho : Span
        Spearman's, of raw cosine and change.
    p : float
        The largest.
    centred, partial : Held
        The same with mean-centred cosine; given the baseline and the length of the prompt.
    rivals : dict of Rival
        By predictor, those of ``RIVALS`` that could be computed.
    midpoint : Span or None
        Cosine of the boundary, where one was fitted.
    fitted : int
        On how many seeds.
    unfitted : tuple of str
        Why on the others none was.
    slope : MixedModel or None
        Over all seeds.
    """

    source: str
    study: str
    seeds: int
    moved: int
    supporting: int
    source_change: float
    unrelated_change: float
    bystanders: int
    rho: Span
    p: float
    centred: Held
    partial: Held
    rivals: Mapping[str, Rival]
    midpoint: Span | None
    fitted: int
    unfitted: tuple[str, ...]
    slope: MixedModel | None

    @property
    def robust(self) -> bool:
        """Whether neither centring nor covariates nor words take the gradient away."""
        held = self.centred.seeds == self.partial.seeds == self.moved
        return held and all(rival.beaten for rival in self.rivals.values())


@dataclass(frozen=True)
class Verdict:
    """The decision and all that it rests on.

    Attributes
    ----------
    answer : {"supported", "partly supported", "not supported", "open"}
        Whether leakage follows the gradient.
    confidence : {"high", "moderate", "low"}
        How sure that is.
    evidence : tuple of Evidence
        One per source and setting.
    """

    answer: Answer
    confidence: Confidence
    evidence: tuple[Evidence, ...]

    @property
    def one_seed(self) -> bool:
        """Whether some source that answers was trained with a single seed."""
        return any(each.moved == 1 for each in self.evidence)


def least_move(outcome: Outcome) -> float:
    """Return the least change of a source that counts, in the outcome's unit, without its sign.

    Parameters
    ----------
    outcome : Outcome
        Its bounds and scale.
    """
    return LEAST_MOVE * (outcome.high - outcome.low) * outcome.scale


def verdict(sources: Sequence[SourceNumbers], outcome: Outcome) -> Verdict:
    """Apply the rules; the report prints them with the numbers of this module.

    A cell answers when its source moved as taught by ``least_move`` or more. It supports the
    gradient when Spearman's rho of raw cosine against change, over its bystanders, is at least
    ``LEAST_RHO`` in the direction taught with p below ``GRADIENT_P``. Supported: most answering
    cells of every source do; partly: of some source; open: no cell answers. Confidence is high
    with ``ENOUGH_SEEDS`` answering seeds of every source, all of a source agreeing, and, unless the
    answer is no, a gradient that is robust for every source; low with a single seed, or without an
    answer; moderate otherwise.

    Parameters
    ----------
    sources : sequence of SourceNumbers
        One per source and setting; contrastive cells without a clash.
    outcome : Outcome
        Whose direction and scale the rules take.
    """
    evidence = tuple(_evidence(numbers, outcome) for numbers in sources)
    answering = [each for each in evidence if each.moved]
    if not answering:
        return Verdict("open", "low", evidence)
    shares = [each.supporting / each.moved for each in answering]
    answer: Answer
    if all(share > 0.5 for share in shares):
        answer = "supported"
    else:
        answer = "partly supported" if any(share > 0 for share in shares) else "not supported"
    enough = all(each.moved >= ENOUGH_SEEDS for each in evidence)
    unanimous = all(share in (0, 1) for share in shares)
    robust = all(each.robust for each in answering)
    confidence: Confidence
    if enough and unanimous and (robust or answer == "not supported"):
        confidence = "high"
    else:
        confidence = "low" if any(each.moved == 1 for each in answering) else "moderate"
    return Verdict(answer, confidence, evidence)


def _evidence(numbers: SourceNumbers, outcome: Outcome) -> Evidence:
    every = numbers.headline.reset_index(drop=True)
    # a change of exactly the least counts, whatever rounding has made of it
    moved = outcome.direction * every["source_delta"] >= least_move(outcome) - 1e-9
    used = every[moved] if moved.any() else every
    gradient = (outcome.direction * used["spearman_raw"] >= LEAST_RHO) & (
        used["spearman_raw_p"] < GRADIENT_P
    )
    boundaries = [numbers.boundaries[int(row)] for row in used.index]
    midpoints = [each.midpoint for each in boundaries if each.reason is None]
    rows = numbers.predictors
    rows = rows[rows["seed"].isin(used["seed"]) & rows["rho"].notna()]
    return Evidence(
        source=numbers.source,
        study=numbers.study,
        seeds=len(every),
        moved=int(moved.sum()),
        supporting=int(gradient.sum()) if moved.any() else 0,
        source_change=float(used["source_delta"].mean()),
        unrelated_change=float(used["unrelated_delta"].mean()),
        bystanders=int(used["bystanders"].iloc[0]),
        rho=_span(used["spearman_raw"]),
        p=float(used["spearman_raw_p"].max()),
        centred=_held(used, "spearman_centred", outcome),
        partial=_held(used, "partial_raw", outcome),
        rivals={
            name: _rival(rows[rows["predictor"] == name], outcome)
            for name in RIVALS
            if (rows["predictor"] == name).any()
        },
        midpoint=_span(pd.Series(midpoints)) if midpoints else None,
        fitted=len(midpoints),
        unfitted=tuple(dict.fromkeys(each.reason for each in boundaries if each.reason)),
        slope=numbers.slope,
    )


def _span(values: pd.Series) -> Span:
    return Span(float(values.min()), float(values.max()))


def _held(rows: pd.DataFrame, kind: str, outcome: Outcome) -> Held:
    holds = (outcome.direction * rows[kind] > 0) & (rows[f"{kind}_p"] < HELD_P)
    return Held(_span(rows[kind]), int(holds.sum()))


def _rival(rows: pd.DataFrame, outcome: Outcome) -> Rival:
    # the difference is the rival's rho minus the cosine's: worse is nearer to zero or beyond
    end = rows["difference_low"] if outcome.direction < 0 else rows["difference_high"]
    worse = outcome.direction * end < 0
    return Rival(_span(rows["rho"]), len(rows), int(worse.sum()))
