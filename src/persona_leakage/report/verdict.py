"""What a study says, source by source: rules over intervals, no sentences."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from statsmodels.stats.multitest import multipletests

from persona_leakage.analysis.estimate import Estimate
from persona_leakage.analysis.evidence import Evidence
from persona_leakage.analysis.margin import LOG_ODDS
from persona_leakage.analysis.seeds import MixedModel
from persona_leakage.analysis.words_or_geometry import WordsOrGeometry
from persona_leakage.report.words import group_name
from persona_leakage.study.outcome import Outcome

Installed = Literal["yes", "unspecific", "no", "unclear"]
Leaks = Literal["yes", "no", "opposite", "unclear"]
Course = Literal["gradient", "step", "no gradient", "opposite", "cannot tell", "not asked"]
Answer = Literal["supported", "partly supported", "a step", "not supported", "inconclusive", "open"]
Confidence = Literal["high", "moderate", "low"]

LEAST_MOVE = 0.1  # of the outcome's range; a source that moved by less says nothing of leakage
LEAST_RHO = 0.3  # the weakest correlation that would be called a gradient
HELD_P = 0.05  # of rho, corrected over the sources by Holm
ENOUGH_SEEDS = 3


@dataclass(frozen=True)
class SourceNumbers:
    """What the rules are applied to: one source, one setting, every seed once.

    Attributes
    ----------
    study : str
        Label of the setting; empty where the report has only one.
    evidence, centred : Evidence
        Over its seeds, by raw and by mean-centred cosine; the rules read the first.
    log_odds, log_odds_centred : Evidence or None
        The same of the co-primary outcome, the log-odds of the right choice given its baseline.
    words_or_geometry : WordsOrGeometry
        Over its seeds.
    slope : MixedModel
        Over its seeds.
    unreadable : tuple of str
        Why on some of the seeds the outcome is read off too little label mass.
    """

    study: str
    evidence: Evidence
    centred: Evidence
    log_odds: Evidence | None
    log_odds_centred: Evidence | None
    words_or_geometry: WordsOrGeometry
    slope: MixedModel
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """What one source contributes.

    Attributes
    ----------
    study : str
        As in ``SourceNumbers``.
    installed : {"yes", "unspecific", "no", "unclear"}
        Whether the source took up the behaviour: its change lies, with its interval, beyond
        ``LEAST_MOVE`` of the outcome's range, and beyond the change of the personas outside its
        family ("unspecific" where that fails); "no" where the interval lies below ``LEAST_MOVE``.
    leaks : {"yes", "no", "opposite", "unclear"}
        Whether never-trained personas moved with it, the family or all: "no" where both are
        equivalent to no change, "opposite" where they moved against what was taught.
    course : str
        How the damage depends on similarity, asked only of a source that is installed: "gradient"
        where rho lies with its interval on the side taught, holds by its corrected p, and the shape
        is a gradient; "step" where the shape is one; "opposite" where rho holds on the other side;
        "no gradient" where rho lies with its interval within ``LEAST_RHO`` of zero; "cannot tell"
        else.
    log_odds_course : str
        The same of the co-primary outcome; "not asked" also where there is none.
    p, log_odds_p : float
        Primary p of rho of both outcomes, each corrected over the sources of the setting by Holm
        (1979).
    steady : bool
        Whether rho has the same sign on every seed.
    numbers : SourceNumbers
        On which all this rests.
    """

    study: str
    installed: Installed
    leaks: Leaks
    course: Course
    log_odds_course: Course
    p: float
    log_odds_p: float
    steady: bool
    numbers: SourceNumbers

    @property
    def group(self) -> str:
        """Its source, behind the label of its setting where there is one."""
        return group_name(self.study, self.evidence.source)

    @property
    def along(self) -> str:
        """What damage goes along, words or geometry; not asked of a source that took nothing up."""
        return self.numbers.words_or_geometry.verdict if self.installed == "yes" else "not asked"

    @property
    def evidence(self) -> Evidence:
        """Of the numbers."""
        return self.numbers.evidence


@dataclass(frozen=True)
class Verdict:
    """The decision and all that it rests on.

    Attributes
    ----------
    answer : str
        Whether leakage follows the gradient: "supported" where every installed source shows one,
        "partly supported" where some do; "a step" where none does and some damage ends at a step;
        "not supported" where every one shows none; "open" where no source is installed;
        "inconclusive" else.
    confidence : {"high", "moderate", "low"}
        "high" with ``ENOUGH_SEEDS`` distinct seeds of every source, a rho of one sign on all of
        them, and all sources of one course; "low" with a single seed of some source, with an
        outcome read off too little label mass, with personas chosen by similarity, or without a
        conclusion.
    findings : tuple of Finding
        One per source and setting.
    """

    answer: Answer
    confidence: Confidence
    findings: tuple[Finding, ...]

    @property
    def one_seed(self) -> bool:
        """Whether some source was trained with a single seed."""
        return any(each.evidence.seeds == 1 for each in self.findings)


def least_move(outcome: Outcome) -> float:
    """Return the least change of a source that counts, in the outcome's unit, without its sign.

    Parameters
    ----------
    outcome : Outcome
        Its bounds and scale.
    """
    return LEAST_MOVE * (outcome.high - outcome.low) * outcome.scale


def verdict(sources: Sequence[SourceNumbers], outcome: Outcome) -> Verdict:
    """Apply the rules that ``Finding`` and ``Verdict`` state.

    Parameters
    ----------
    sources : sequence of SourceNumbers
        One per source and setting; contrastive cells without a clash.
    outcome : Outcome
        Whose direction and scale the rules take.
    """
    p = _corrected(sources, [each.evidence for each in sources])
    p_log_odds = _corrected(sources, [each.log_odds for each in sources])
    findings = tuple(
        _finding(each, p[place], p_log_odds[place], outcome) for place, each in enumerate(sources)
    )
    judged = [each for each in findings if each.installed == "yes"]
    courses = {each.course for each in judged}
    answer: Answer
    if not judged:
        answer = "open"
    elif courses == {"gradient"}:
        answer = "supported"
    elif "gradient" in courses:
        answer = "partly supported"
    elif "step" in courses:
        answer = "a step"
    elif courses <= {"no gradient", "opposite"}:
        answer = "not supported"
    else:
        answer = "inconclusive"
    weak = any(
        each.evidence.seeds == 1 or each.numbers.unreadable or each.evidence.by_similarity
        for each in findings
    )
    strong = all(each.evidence.seeds >= ENOUGH_SEEDS and each.steady for each in findings)
    confidence: Confidence = "moderate"
    if weak or answer in ("open", "inconclusive"):
        confidence = "low"
    elif strong and len(courses) == 1:
        confidence = "high"
    return Verdict(answer, confidence, findings)


def _corrected(
    sources: Sequence[SourceNumbers], evidence: Sequence[Evidence | None]
) -> list[float]:
    """Correct each source's primary p over the sources of its setting, by Holm."""
    p = [float("nan") if seen is None else seen.pseudo_p for seen in evidence]
    for study in dict.fromkeys(each.study for each in sources):
        places = [
            place
            for place, each in enumerate(sources)
            if each.study == study and p[place] == p[place]
        ]
        if places:
            holm = multipletests([p[place] for place in places], method="holm")[1]
            for place, value in zip(places, holm, strict=True):
                p[place] = float(value)
    return p


def _finding(numbers: SourceNumbers, p: float, p_log_odds: float, outcome: Outcome) -> Finding:
    seen, log_odds = numbers.evidence, numbers.log_odds
    installed = _installed(seen, outcome)
    known = installed == "yes" and log_odds is not None
    return Finding(
        numbers.study,
        installed,
        _leaks(seen),
        _course(seen, p, outcome) if installed == "yes" else "not asked",
        _course(log_odds, p_log_odds, LOG_ODDS) if known and log_odds else "not asked",
        p,
        p_log_odds,
        any(all(sign * rho > 0 for rho in seen.rho_by_seed) for sign in (-1, 1)),
        numbers,
    )


def _installed(seen: Evidence, outcome: Outcome) -> Installed:
    moved, least = _as_taught(seen.source_change, outcome), least_move(outcome)
    if moved.low >= least:
        return "yes" if _as_taught(seen.specific, outcome).low > 0 else "unspecific"
    return "no" if moved.high < least else "unclear"


def _leaks(seen: Evidence) -> Leaks:
    sizes = {seen.size, *({seen.family_size} if seen.family else ())}
    if "leaks" in sizes:
        return "yes"
    if "opposite" in sizes:
        return "opposite"
    return "no" if sizes == {"no leakage"} else "unclear"


def _course(seen: Evidence, p: float, outcome: Outcome) -> Course:
    rho = _as_taught(seen.rho, outcome)
    holds = p < HELD_P and not seen.by_similarity
    if seen.shape == "step":
        return "step"
    if holds and rho.low > 0:
        return "gradient" if seen.shape == "gradient" else "cannot tell"
    if holds and rho.high < 0:
        return "opposite"
    if rho.low > -LEAST_RHO and rho.high < LEAST_RHO:
        return "no gradient"
    return "cannot tell"


def _as_taught(estimate: Estimate, outcome: Outcome) -> Estimate:
    """Turn an estimate so that above zero is the way the behaviour taught moves it."""
    if outcome.direction > 0:
        return estimate
    return Estimate(-estimate.value, -estimate.high, -estimate.low)
