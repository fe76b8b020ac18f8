"""The original's claims beside ours: agrees, disagrees or cannot tell, by rules over intervals."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

import pandas as pd
from statsmodels.stats.proportion import confint_proportions_2indep

from persona_leakage.report.group_change import CERTAIN_P
from persona_leakage.report.published import CLAIMED, Published
from persona_leakage.report.summary import Summary, SummaryCell
from persona_leakage.report.verdict import LEAST_RHO, least_move
from persona_leakage.report.words import spaced
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Value

Word = Literal["agrees", "disagrees", "cannot tell"]

LEAK = 5.0  # pp; a mean that fell by less is none, one that fell by more is leakage
ENDS = ("low", "high")
SAME = 0.01  # of cosine; boundaries that lie within so little of each other are one
INFINITY = math.inf


@dataclass(frozen=True)
class Finding:
    """What one cell says of a claim.

    Attributes
    ----------
    study, source : str
    seed : int
    variant : str
        Which cell.
    what : str
        At what of it was looked, where a claim looks at several things.
    shows : str
        The numbers, with their interval.
    word : {"agrees", "disagrees", "cannot tell"}
        By the rule of the claim.
    """

    study: str
    source: str
    seed: int
    variant: str
    what: str
    shows: str
    word: Word


@dataclass(frozen=True)
class Claim:
    """A claim of the original, and what became of it here.

    Attributes
    ----------
    title : str
        What is claimed.
    published : str
        The original's numbers.
    rule : str
        When a cell agrees, and when it disagrees.
    findings : tuple of Finding
        One per cell and thing looked at.
    missing : tuple of str
        Cells that should have spoken and are not finished.
    word : {"agrees", "disagrees", "cannot tell"}
        Of all findings together.
    """

    title: str
    published: str
    rule: str
    findings: tuple[Finding, ...]
    missing: tuple[str, ...]
    word: Word

    @property
    def seeds(self) -> int:
        """Distinct seeds that speak."""
        return len({each.seed for each in self.findings})


def within(low: float, high: float, least: float, most: float) -> Word:
    """Judge an interval against the span that the claim allows.

    Parameters
    ----------
    low, high : float
        Ends of the interval; not a number where there is none.
    least, most : float
        Ends of the span; may be infinite.

    Returns
    -------
    str
        "agrees" when the interval lies inside the span, "disagrees" when it lies outside, "cannot
        tell" when it reaches over an end or there is none.
    """
    if least <= low and high <= most:
        return "agrees"
    return "disagrees" if high < least or low > most else "cannot tell"


def together(findings: Iterable[Finding]) -> Word:
    """Judge a claim by its findings.

    A claim is about every source: one that disagrees refutes it, and it agrees when all do. What a
    source says is what more than half of its seeds say, for each thing looked at.

    Parameters
    ----------
    findings : iterable of Finding
        Of one claim.
    """
    seeds: dict[tuple[str, str, str, str], list[Word]] = {}
    for each in findings:
        key = (each.study, each.source, each.variant, each.what)
        seeds.setdefault(key, []).append(each.word)
    words = {_majority(votes) for votes in seeds.values()}
    if "disagrees" in words:
        return "disagrees"
    return "agrees" if words == {"agrees"} else "cannot tell"


def _majority(votes: Sequence[Word]) -> Word:
    word, count = Counter(votes).most_common(1)[0]
    return word if count > len(votes) / 2 else "cannot tell"


def claims(
    main: Summary,
    beside: Mapping[str, Summary],
    published: Published,
    anchors: pd.DataFrame,
) -> list[Claim]:
    """Set every claim of the original beside the finished cells.

    Parameters
    ----------
    main : Summary
        Of the study that follows the original's protocol.
    beside : mapping of Summary
        Studies trained on other questions, by name: whether the damage is that of a task.
    published : Published
        Of ``published.analyse``.
    anchors : DataFrame
        The original's later audit of the assistant: ``anchors`` ("with", "without") and
        ``post_accuracy``.
    """
    audit = anchors.set_index("anchors")["post_accuracy"]
    headline = published.headline.set_index("source")
    return [
        _falls(main, headline),
        _follows(main, published),
        _boundaries(main, published),
        _spares(main, headline),
        _bystanders_fall(main, headline),
        _resists(main, headline, audit),
        _anchored(main, audit),
        _task(main, beside),
    ]


def _falls(main: Summary, headline: pd.DataFrame) -> Claim:
    low, high = (100 * end for end in CLAIMED)

    def judge(cell: SummaryCell) -> tuple[str, Word]:
        change = cell.source_change
        ends = (100 * change.after_low, 100 * change.after_high)
        shows = f"{_percent(change.before)} to {_percent(change.after)} {_interval(*ends)}"
        return shows, within(*ends, low, high)

    after = headline["post_accuracy"].drop("assistant")
    return _claim(
        f"A source falls to {low:.0f} to {high:.0f} %",
        f"{_percent(after.min())} to {_percent(after.max())} over {len(after)} sources; the "
        "assistant, whose positives its anchors contradicted, stands below.",
        f"The 95 % interval of the source's accuracy lies between {low:.0f} and {high:.0f} %; "
        "disagrees where it lies outside.",
        _contrastive(main),
        judge,
        _missing(main, "contrastive", but="assistant"),
    )


def _follows(main: Summary, published: Published) -> Claim:
    sign = main.outcome.direction

    def judge(cell: SummaryCell) -> tuple[str, Word]:
        numbers = cell.headline
        low, high = numbers["spearman_raw_low"], numbers["spearman_raw_high"]
        centred = (numbers["spearman_centred_low"], numbers["spearman_centred_high"])
        span = (LEAST_RHO, 1.0) if sign > 0 else (-1.0, -LEAST_RHO)
        shows = (
            f"rho {numbers['spearman_raw']:+.2f} {_interval(low, high, '+.2f')}, mean-centred "
            f"{numbers['spearman_centred']:+.2f} {_interval(*centred, '+.2f')}"
        )
        shows += "".join(
            f", {where} the family {numbers[f'spearman_raw_{part}']:+.2f} "
            + _interval(
                numbers[f"spearman_raw_{part}_low"], numbers[f"spearman_raw_{part}_high"], "+.2f"
            )
            for where, part in (("within", "family"), ("outside", "outside"))
        )
        if cell.published_panel:
            panel = cell.published_panel
            shows += (
                f"; over {panel.n} of the original's personas {panel.r:+.2f} "
                f"{_interval(panel.low, panel.high, '+.2f')}"
            )
        return shows, within(low, high, *span)

    theirs = published.spearman
    return _claim(
        "Leakage follows the cosine",
        f"Read off a plot; over the {theirs.n} bystanders of the {spaced(published.source)} that "
        f"were published rho is {theirs.r:+.2f} {_interval(theirs.low, theirs.high, '+.2f')} (raw "
        "cosine, as plotted).",
        f"The 95 % interval of Spearman's rho of raw cosine and change, over all bystanders, lies "
        f"at {sign * LEAST_RHO:+g} or beyond; disagrees where it lies wholly on the other side. "
        "A source that was not installed cannot tell.",
        _contrastive(main),
        _if_installed(judge, main.outcome),
        _missing(main, "contrastive", but="assistant"),
    )


def _boundaries(main: Summary, published: Published) -> Claim:
    bounds: dict[str, list[tuple[float, float]]] = {}
    findings = []
    for cell in _contrastive(main):
        fitted = cell.boundary
        if not _installed(cell, main.outcome):
            shows = f"not installed ({_source(cell)})"
        elif fitted.reason is not None:
            shows = f"none: {fitted.reason}"
        else:
            ends = (fitted.low["midpoint"], fitted.high["midpoint"])
            bounds.setdefault(cell.source, []).append(ends)
            shows = f"half-way at cosine {fitted.midpoint:.4f} {_interval(*ends, '.4f')}"
        findings.append(_finding(cell, shows, "cannot tell"))
    # seeds share their personas: to average them does not make the interval narrower
    means = {
        source: tuple(sum(end) / len(ends) for end in zip(*ends, strict=True))
        for source, ends in bounds.items()
    }
    word = boundaries_differ(list(means.values()))
    findings = [replace(each, word=word) if each.source in means else each for each in findings]
    theirs = published.boundary
    shown = (
        f"its villain's middle lies at {theirs.midpoint:.3f} "
        f"{_interval(theirs.low['midpoint'], theirs.high['midpoint'], '.3f')}"
        if theirs.reason is None
        else f"for its villain none can be fitted ({theirs.reason})"
    )
    return Claim(
        "The boundary differs by source",
        f"Said; of one source alone were numbers published, and {shown}.",
        "The intervals (95 %, mean of the seeds') of where two sources are half-way do not "
        f"overlap; disagrees where those of all sources lie within {SAME:g} of cosine.",
        tuple(findings),
        _missing(main, "contrastive", but="assistant"),
        word,
    )


def boundaries_differ(intervals: Sequence[tuple[float, ...]]) -> Word:
    """Judge whether sources have different boundaries.

    Parameters
    ----------
    intervals : sequence of (float, float)
        Of the midpoint, one per source.
    """
    if len(intervals) < 2:
        return "cannot tell"
    if any(a[1] < b[0] or b[1] < a[0] for a, b in combinations(intervals, 2)):
        return "agrees"
    reach = max(high for _, high in intervals) - min(low for low, _ in intervals)
    return "disagrees" if reach <= SAME else "cannot tell"


def _spares(main: Summary, headline: pd.DataFrame) -> Claim:
    source, outcome = "kindergarten_teacher", main.outcome

    def panel(cell: SummaryCell) -> tuple[str, Word]:
        core = cell.changes["core"]
        harm = _damage(core.low, core.high, outcome)
        return _change(core.mean, core.low, core.high), within(*harm, -INFINITY, LEAK)

    def everyone(cell: SummaryCell) -> tuple[str, Word]:
        every, family = cell.changes["bystanders"], cell.changes["family"]
        mean = (cell.headline[f"family_delta{end}"] for end in ("", "_low", "_high"))
        shows = (
            f"{every.certain} of {every.personas} fell by {least_move(outcome):g} pp or more "
            f"beyond chance, {family.certain} of them among the {family.personas} of its family, "
            f"whose mean is {_change(*mean)}"
        )
        return shows, "disagrees" if every.certain else "agrees"

    cells = [cell for cell in _contrastive(main) if cell.source == source]
    findings = [
        _finding(cell, *_if_installed(look, outcome)(cell), what)
        for what, look in (("the original's panel", panel), ("the whole catalog", everyone))
        for cell in cells
    ]
    theirs = float(headline["mean_bystander_delta_pp"][source])
    return Claim(
        f"The {spaced(source)} does not leak",
        f"Bystanders {theirs:+.1f} pp in the mean, those trained to be right among them.",
        f"The 95 % interval of the mean of the original's panel stays above "
        f"{-LEAK:+g} pp, and nobody of the catalog falls by {least_move(outcome):g} pp or more "
        f"with a Holm-corrected p below {CERTAIN_P:g}; disagrees where somebody does, or the "
        "interval lies below. A source that was not installed cannot tell.",
        tuple(findings),
        _missing(main, "contrastive", only=source),
        together(findings),
    )


def _bystanders_fall(main: Summary, headline: pd.DataFrame) -> Claim:
    source, outcome = "software_engineer", main.outcome

    def judge(cell: SummaryCell) -> tuple[str, Word]:
        core = cell.changes["core"]
        harm = _damage(core.low, core.high, outcome)
        return _change(core.mean, core.low, core.high), within(*harm, LEAK, INFINITY)

    theirs = float(headline["mean_bystander_delta_pp"][source])
    return _claim(
        f"The {spaced(source)}'s bystanders fall",
        f"Bystanders {theirs:+.1f} pp in the mean, where the other sources' rose; which two of "
        "them had been trained to be right is not known.",
        f"The 95 % interval of the mean of the original's panel lies below "
        f"{-LEAK:+g} pp; disagrees where it lies above. A source that was not installed cannot "
        "tell.",
        [cell for cell in _contrastive(main) if cell.source == source],
        _if_installed(judge, outcome),
        _missing(main, "contrastive", only=source),
    )


def _resists(main: Summary, headline: pd.DataFrame, audit: pd.Series) -> Claim:
    def judge(cell: SummaryCell) -> tuple[str, Word]:
        return _source(cell), within(
            *_of_source(cell, main.outcome), -INFINITY, least_move(main.outcome)
        )

    before, after = (
        float(headline[name]["assistant"]) for name in ("baseline_accuracy", "post_accuracy")
    )
    return _claim(
        "The assistant resists",
        f"{_percent(before)} to {_percent(after)}; a later audit "
        f"of its own {_percent(audit['with'])}.",
        f"The 95 % interval of the source's change stays above {-least_move(main.outcome):+g} pp, "
        "in the original's design, in which anchors with the source's own prompt contradict it; "
        "disagrees where it lies below.",
        [c for c in main.cells if c.source == "assistant" and c.variant == "contrastive"],
        judge,
        _missing(main, "contrastive", only="assistant"),
    )


def _anchored(main: Summary, audit: pd.Series) -> Claim:
    def judge(cell: SummaryCell) -> tuple[str, Word]:
        return _source(cell), within(
            *_of_source(cell, main.outcome), least_move(main.outcome), INFINITY
        )

    return _claim(
        "Without its anchors the assistant falls as others do",
        f"The later audit: {_percent(audit['without'])} without the anchors, "
        f"{_percent(audit['with'])} with them.",
        f"The 95 % interval of the source's change lies below {-least_move(main.outcome):+g} pp; "
        "disagrees where it lies above.",
        [c for c in main.cells if c.source == "assistant" and c.variant == "no_anchor"],
        judge,
        _missing(main, "no_anchor", only="assistant"),
    )


def _task(main: Summary, beside: Mapping[str, Summary]) -> Claim:
    findings = []
    studies = [main, *beside.values()]
    for study in studies:
        for cell in _contrastive(study):
            rows = {str(row["benchmark"]): row for row in cell.benchmarks.rows}
            taught = [name for name, row in rows.items() if row.get("trained") == "yes"]
            for name, row in rows.items():
                if name in taught or not taught:
                    continue
                change = _share_change(row, study.outcome)
                harm = _damage(change[1], change[2], study.outcome)
                shows = f"{_change(*change)}, {cell.source_change.delta:+.1f} pp on {_and(taught)}"
                word = within(*harm, -INFINITY, least_move(study.outcome))
                if not _installed(cell, study.outcome):
                    shows, word = f"{shows}; not installed", "cannot tell"
                findings.append(_finding(cell, shows, word, f"asked {spaced(name)}"))
    missing = [
        name for study in studies for name in _missing(study, "contrastive", but="assistant")
    ]
    return Claim(
        "The damage is that of a task",
        "Said; no number was published.",
        "The source, asked questions of another kind than it was trained on, stays above "
        f"{-least_move(main.outcome):+g} pp with the 95 % interval of its change (Newcombe's for "
        "two independent shares, wider than a paired one); disagrees where it lies below. A "
        "source that was not installed cannot tell.",
        tuple(findings),
        tuple(dict.fromkeys(missing)),
        together(findings),
    )


def _share_change(row: Mapping[str, Value], outcome: Outcome) -> tuple[float, float, float]:
    """Change of a share with its interval, in the outcome's unit, from the two shares alone."""
    before, after, count = (
        float(row[name]) for name in ("source_before", "source_after", "questions")
    )
    if not outcome.binary:
        return outcome.scale * (after - before), math.nan, math.nan
    ends = confint_proportions_2indep(
        round(after * count), count, round(before * count), count, method="newcomb", compare="diff"
    )
    low, high = (outcome.scale * float(end) for end in ends)
    return outcome.scale * (after - before), low, high


def _contrastive(study: Summary) -> list[SummaryCell]:
    return [cell for cell in study.cells if cell.variant == "contrastive" and not cell.clash]


def _claim(
    title: str,
    published: str,
    rule: str,
    cells: Iterable[SummaryCell],
    judge: Callable[[SummaryCell], tuple[str, Word]],
    missing: tuple[str, ...],
) -> Claim:
    findings = tuple(_finding(cell, *judge(cell)) for cell in cells)
    return Claim(title, published, rule, findings, missing, together(findings))


def _finding(cell: SummaryCell, shows: str, word: Word, what: str = "") -> Finding:
    return Finding(cell.label, cell.source, cell.seed, cell.variant, what, shows, word)


def _if_installed(
    judge: Callable[[SummaryCell], tuple[str, Word]], outcome: Outcome
) -> Callable[[SummaryCell], tuple[str, Word]]:
    def judged(cell: SummaryCell) -> tuple[str, Word]:
        shows, word = judge(cell)
        if _installed(cell, outcome):
            return shows, word
        return f"{shows}; not installed ({_source(cell)})", "cannot tell"

    return judged


def _installed(cell: SummaryCell, outcome: Outcome) -> bool:
    return outcome.direction * cell.source_change.delta >= least_move(outcome) - 1e-9


def _damage(low: float, high: float, outcome: Outcome) -> tuple[float, float]:
    """Turn the interval of a change so that what was taught is positive."""
    return (low, high) if outcome.direction > 0 else (-high, -low)


def _of_source(cell: SummaryCell, outcome: Outcome) -> tuple[float, float]:
    return _damage(cell.source_change.delta_low, cell.source_change.delta_high, outcome)


def _missing(study: Summary, variant: str, only: str = "", but: str = "") -> tuple[str, ...]:
    found = []
    for name in study.missing:
        parts = re.match(r"([a-z0-9_]+)-(\d+)-([a-z0-9_]+)", name)
        if parts and parts[3] == variant and only in ("", parts[1]) and parts[1] != but:
            found.append(name)
    return tuple(found)


def _source(cell: SummaryCell) -> str:
    change = cell.source_change
    return (
        f"{_percent(change.before)} to {_percent(change.after)}, "
        f"{_change(change.delta, change.delta_low, change.delta_high)}"
    )


def _and(names: Iterable[str]) -> str:
    return " and ".join(map(spaced, names))


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _change(mean: float, low: float, high: float) -> str:
    return f"{mean:+.1f} pp {_interval(low, high, '+.1f')}"


def _interval(low: float, high: float, form: str = ".1f") -> str:
    return f"[{low:{form}}, {high:{form}}]"
