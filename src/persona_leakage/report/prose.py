"""The verdict in sentences and in one table."""

import math
from collections.abc import Mapping, Sequence

import pandas as pd

from persona_leakage.analysis.estimate import Estimate
from persona_leakage.analysis.evidence import Evidence
from persona_leakage.analysis.words_or_geometry import FEWEST, WordsOrGeometry
from persona_leakage.files import Record
from persona_leakage.report.verdict import LEAST_RHO, Finding, Verdict, least_move
from persona_leakage.report.words import spaced
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Column, TitledTable, titled

NOTHING = "–"  # is left to settle
COURSE = {
    "gradient": "a gradient",
    "step": "a step",
    "no gradient": f"none (|rho| below {LEAST_RHO})",
    "opposite": "against the gradient",
    "cannot tell": "cannot tell",
    "not asked": "not asked",
}


def answer(conclusion: Verdict, broken: Mapping[str, Sequence[Record]], outcome: Outcome) -> str:
    """Answer the question in two sentences: who changed, and whether nearness or words order it.

    Parameters
    ----------
    conclusion : Verdict
        Of the rules.
    broken : mapping of sequence of dict
        By ``Finding.group``, the bystanders that changed with it beyond chance; ``family`` says
        whether one is of its family.
    outcome : Outcome
        For its name and unit.
    """
    if not conclusion.findings:
        return "No contrastive cell without a clash is finished: there is nothing to conclude yet."
    judged = _judged(conclusion)
    first = _changed(judged, broken, outcome) if judged else _not_taken_up(conclusion, outcome)
    return f"{first} {'; '.join([_course(conclusion, judged), *_along(judged)])}."


def how_sure(conclusion: Verdict, outcome: Outcome) -> str:
    """Say how sure the answer is, what it leaves open, and what would settle that.

    Parameters
    ----------
    conclusion : Verdict
        Of the rules.
    outcome : Outcome
        For its name, unit and direction.

    Returns
    -------
    str
        Empty where the answer has said it all.
    """
    judged = _judged(conclusion)
    sentences = []
    if judged and len(judged) < len(conclusion.findings):
        sentences.append(_not_taken_up(conclusion, outcome))
    if conclusion.answer == "inconclusive":
        sentences.append(
            "Whether there is a gradient cannot be told where the interval of rho holds both a "
            "gradient and none, or chance would give as much."
        )
    if len(judged) == 1:  # of several the table says it
        sentences += [*_parts(judged[0]), *_log_odds(judged[0])]
    else:
        sentences += _within(judged, outcome)
    return " ".join([*sentences, *_settled(conclusion)])


def _judged(conclusion: Verdict) -> list[Finding]:
    return [each for each in conclusion.findings if each.installed == "yes"]


def _changed(
    judged: Sequence[Finding], broken: Mapping[str, Sequence[Record]], outcome: Outcome
) -> str:
    """Say how far the change of each source went."""
    rows = {each.group: broken.get(each.group, ()) for each in judged}
    told = [
        f"{len(rows[each.group])} of {each.evidence.family + each.evidence.outside}"
        f"{' never-trained personas changed, as taught and beyond chance,' * (each is judged[0])} "
        f"with the {name(each)} ({each.evidence.source_change.value:+.1f} {outcome.unit})"
        for each in judged
    ]
    everybody = [row for each in rows.values() for row in each]
    if not everybody:
        return f"{_listed(told)}."
    kin = sum(row["family"] for row in everybody)
    whose = "their source" if len(judged) > 1 else "it"
    verb = "is" if kin == 1 else "are"
    return f"{_listed(told)}; {kin} of these {len(everybody)} {verb} written around {whose}."


def _not_taken_up(conclusion: Verdict, outcome: Outcome) -> str:
    """Name the sources that did not learn what they were taught."""
    changes = _listed(
        [
            f"{name(each)} ({each.evidence.source_change.value:+.1f})"
            for each in conclusion.findings
            if each.installed != "yes"
        ]
    )
    return (
        f"What was taught was not, or not surely, taken up by {changes}; numbers are changes in "
        f"{outcome.name}, {outcome.unit}."
    )


def _parts(each: Finding) -> list[str]:
    """Give rho within and outside the family, which may say another thing than the whole."""
    seen = each.evidence
    return [
        f"Rho of cosine and change is {_number(seen.family_rho.value, '+.2f')} within the source's "
        f"family and {_number(seen.outside_rho.value, '+.2f')} outside; with mean-centred cosine "
        f"it is {_number(each.numbers.centred.rho.value, '+.2f')} over all."
    ]


def _within(judged: Sequence[Finding], outcome: Outcome) -> list[str]:
    """Say where nearness orders the family, whatever it does over everybody."""
    ordered = [
        each
        for each in judged
        if each.evidence.family_rho.excludes(0)
        and each.evidence.family_rho.value * outcome.direction > 0
    ]
    if not ordered:
        return []
    rhos = sorted(each.evidence.family_rho.value for each in ordered)
    whose = "each" if len(ordered) == len(judged) else _listed([name(each) for each in ordered])
    return [
        f"Within the family of {whose}, the nearer changed more "
        f"(rho {rhos[0]:+.2f} to {rhos[-1]:+.2f})."
    ]


def _log_odds(each: Finding) -> list[str]:
    """Say what the co-primary outcome says."""
    seen = each.numbers.log_odds
    if seen is None:
        return []
    return [
        f"In log-odds of the right choice, given the baseline: {COURSE[each.log_odds_course]} "
        f"(rho {seen.rho.value:+.2f})."
    ]


def _course(conclusion: Verdict, judged: Sequence[Finding]) -> str:
    """Say whether nearness orders the change: a sentence that may go on."""

    def named(*courses: str) -> str:
        return _listed([name(each) for each in judged if each.course in courses])

    sure = f"(confidence: {conclusion.confidence})"
    if conclusion.answer == "open":
        return (
            "Whether leakage follows the cosine gradient is open: no source took up, beyond doubt, "
            "what it was taught"
        )
    if conclusion.answer == "supported":
        return (
            f"That leakage follows the cosine gradient is supported {sure}: the nearer a "
            "never-trained persona is to its source in the base model, the more it changes with it "
            f"({named('gradient')})"
        )
    if conclusion.answer == "partly supported":
        rest = named("step", "no gradient", "opposite", "cannot tell")
        return (
            f"That leakage follows the cosine gradient is partly supported {sure}: it does for "
            f"{named('gradient')}, and does not, or cannot be told, for {rest}"
        )
    if conclusion.answer == "a step":
        return (
            f"Leakage ends at a step of cosine, without a gradient {sure}: what lies closest to "
            "its source changes with it, and nearness beyond that does not matter "
            f"({named('step')})"
        )
    if conclusion.answer == "not supported":
        return (
            f"That leakage follows the cosine gradient is not supported {sure}: over all "
            f"personas the nearer change no more than the far "
            f"({named('no gradient', 'opposite')})"
        )
    return f"Whether leakage follows the cosine gradient over all personas cannot be told {sure}"


def _along(judged: Sequence[Finding]) -> list[str]:
    told: dict[str, list[str]] = {}
    for each in judged:
        told.setdefault(each.numbers.words_or_geometry.verdict, []).append(name(each))
    if not told:
        return []
    words = {
        "words": "along the words of the prompts",
        "geometry": "along the geometry of the base model",
        "both": "along words and geometry both",
        "cannot tell": "along words or geometry, which cannot be told apart,",
    }
    text = "; ".join(f"{words[along]} for {_listed(names)}" for along, names in told.items())
    return [f"the change goes {text}"]


def findings_table(
    conclusion: Verdict, broken: Mapping[str, Sequence[Record]], outcome: Outcome
) -> TitledTable:
    """Answer, for each source: did it install, does it leak, how far, how sure, what would settle.

    Parameters
    ----------
    conclusion : Verdict
        Of the rules.
    broken : mapping of sequence of dict
        As for ``answer``.
    outcome : Outcome
        For units.
    """
    rows = [
        {
            "source": name(each),
            "installed": f"{each.installed}: {interval(each.evidence.source_change)}",
            "family": interval(each.evidence.family_change),
            "outside": interval(each.evidence.outside_change),
            "leaks": each.leaks,
            "broken": _of_its_family(broken.get(each.group, ())),
            "course": COURSE[each.course],
            "rho": interval(each.evidence.rho, "+.2f"),
            "family_rho": interval(each.evidence.family_rho, "+.2f"),
            "outside_rho": interval(each.evidence.outside_rho, "+.2f"),
            "centred": interval(each.numbers.centred.rho, "+.2f"),
            "log_odds": _rho(each.numbers.log_odds),
            "log_odds_centred": _rho(each.numbers.log_odds_centred),
            "log_odds_course": COURSE[each.log_odds_course],
            "along": each.along,
            "sure": _sure(each),
            "settle": _settle(each),
        }
        for each in conclusion.findings
    ]
    titles = {
        "source": "source",
        "installed": f"installed? source ({outcome.unit})",
        "broken": "changed beyond chance",
        "leaks": "leaks on average?",
        "family": f"its family ({outcome.unit})",
        "outside": f"all others ({outcome.unit})",
        "course": "along cosine",
        "rho": "rho, all",
        "family_rho": "rho, family",
        "outside_rho": "rho, others",
        "centred": "rho, all, centred cosine",
        "log_odds_course": "log-odds: along cosine",
        "log_odds": "log-odds: rho, all",
        "log_odds_centred": "log-odds: rho, all, centred cosine",
        "along": "words or geometry",
        "sure": "how sure",
        "settle": "what would settle it",
    }
    return titled(
        pd.DataFrame(rows, columns=list(titles)),
        [Column(key=key, title=title) for key, title in titles.items()],
        "Source by source",
        "Means over seeds, with 95 % intervals over personas and questions. Family: never-trained "
        "personas written around the source. Rho: Spearman's, of cosine and change, over all "
        "never-trained personas. p: against every persona outside the family pretended to be the "
        "source, corrected over sources by Holm. Log-odds: of the right choice, the co-primary "
        "outcome, given each persona's baseline.",
    )


def _of_its_family(rows: Sequence[Record]) -> str:
    of_them = f", {sum(row['family'] for row in rows)} of them of its family"
    return f"{len(rows)}{of_them if rows else ''}"


def _rho(seen: Evidence | None) -> str:
    return "–" if seen is None else interval(seen.rho, "+.2f")


def _sure(each: Finding) -> str:
    seen = each.evidence
    p = f"p {_number(each.p, '.2g')}"
    if each.numbers.log_odds:
        p += f", log-odds p {_number(each.log_odds_p, '.2g')}"
    signs = "" if seen.seeds == 1 else ", one sign" if each.steady else ", signs differ"
    reliability = _number(seen.reliability.value, ".2f")
    return f"{p}; {count(seen.seeds, 'seed')}{signs}; reliability {reliability}"


def _settled(conclusion: Verdict) -> list[str]:
    """Say what would settle what is not concluded: the same remedy once, for all it would help."""
    if conclusion.answer not in ("inconclusive", "open"):
        return []
    remedies: dict[str, list[str]] = {}
    for each in conclusion.findings:
        if (remedy := _settle(each)) != NOTHING:
            remedies.setdefault(remedy, []).append(name(each))
    told = "; ".join(f"for {_listed(names)}, {remedy}" for remedy, names in remedies.items())
    first = "more than one seed, to begin with; " if conclusion.one_seed else ""
    sentences = [f"What would settle it: {first}{told}."] if told or first else []
    apart = [
        name(each)
        for each in conclusion.findings
        if each.installed == "yes" and not each.numbers.words_or_geometry.cells
    ]
    if apart:
        sentences.append(
            f"Words and geometry could be told apart for {_listed(apart)} with at least "
            f"{FEWEST} paraphrases and {FEWEST} decoys of it among the personas asked."
        )
    return sentences


def _settle(each: Finding) -> str:
    if each.course not in ("cannot tell", "not asked"):
        return NOTHING
    seen = each.evidence
    if each.installed != "yes":
        return "a training that takes hold: more steps, or another source"
    if seen.by_similarity:
        return "personas chosen without regard to similarity"
    if seen.rho.excludes(0):  # it is not numbers that lack
        return (
            "other sources, or another model: in this one personas differ along so few directions "
            "that damage which has nothing to do with the source would give such a rho, too"
        )
    ways = [
        f"{number:,.0f} {what} instead of {now:,}"
        for number, what, now in (
            (seen.needed.personas, "personas", seen.family + seen.outside),
            (seen.needed.questions, "questions", seen.questions),
            (seen.needed.seeds, "seeds", seen.seeds),
        )
        if math.isfinite(number)
    ]
    return " or ".join(ways) or "more of everything: the effect is near zero"


def reasons(conclusion: Verdict, outcome: Outcome) -> list[str]:
    """Say what the confidence rests on and what speaks against the answer.

    Parameters
    ----------
    conclusion : Verdict
        Of the rules.
    outcome : Outcome
        For its name, unit and direction.
    """
    sentences = []
    if conclusion.one_seed:
        sentences.append("A single seed: what another one would show is not known.")
    for each in conclusion.findings:
        sentences += [f"{name(each)}: {reason}" for reason in _reasons(each, outcome)]
    return sentences


def _reasons(each: Finding, outcome: Outcome) -> list[str]:
    seen, sentences = each.evidence, list(each.numbers.unreadable)
    if each.installed == "unspecific":
        sentences.append(
            "the source changed, and no more than personas outside its family: that is no "
            "persona's damage."
        )
    elif each.installed in ("no", "unclear"):
        sentences.append(
            f"a source must change by {least_move(outcome):g} {outcome.unit} beyond its interval "
            "to say anything of leakage."
        )
    if seen.by_similarity:
        sentences.append(
            "who is asked was chosen by similarity, so that no correlation with similarity is a "
            "test of leakage."
        )
    sentences.append(
        f"rho is {interval(seen.family_rho, '+.2f')} within its family of {seen.family} and "
        f"{interval(seen.outside_rho, '+.2f')} among the {seen.outside} others; corrected for the "
        f"noise of the questions the whole is {interval(seen.true_rho, '+.2f')}."
    )
    centred = each.numbers.centred
    sentences.append(
        f"with mean-centred cosine rho is {interval(centred.rho, '+.2f')}, within the family "
        f"{interval(centred.family_rho, '+.2f')}, among the others "
        f"{interval(centred.outside_rho, '+.2f')} (p {_number(centred.pseudo_p, '.2g')})."
    )
    log_odds, alike = each.numbers.log_odds, each.numbers.log_odds_centred
    if log_odds and alike:
        sentences.append(
            f"in log-odds of the right choice, given the baseline, rho is "
            f"{interval(log_odds.rho, '+.2f')}, within the family "
            f"{interval(log_odds.family_rho, '+.2f')}, among the others "
            f"{interval(log_odds.outside_rho, '+.2f')} (p {_number(log_odds.pseudo_p, '.2g')}); "
            f"with mean-centred cosine {interval(alike.rho, '+.2f')} "
            f"(p {_number(alike.pseudo_p, '.2g')})."
        )
    sentences.append(
        f"pretended to be the source, {seen.place - 1} of {seen.pretenders - 1} personas outside "
        f"the family have a steeper rho (p {_number(seen.pseudo_p, '.2g')}; by wild bootstrap over "
        f"{seen.clusters} clusters p {_number(seen.cluster_p, '.2g')})."
    )
    sentences.append(
        f"its family changes by {interval(seen.between)} {outcome.unit} more than the others; "
        f"within the family the nearer side of the best single step changes by "
        f"{interval(seen.step)} {outcome.unit} more than the farther, and the slope that this step "
        f"leaves comes to {interval(seen.beyond_step)} {outcome.unit} over the family's range."
    )
    crossed = each.numbers.words_or_geometry
    if crossed.reason:
        sentences.append(crossed.reason + _unconfirmed(crossed))
    slope = each.numbers.slope
    if slope.reason is None:
        sentences.append(
            f"over all seeds the log-odds of a bystander's {outcome.name} change by "
            f"{slope.slope:+.3f} [{slope.low:+.3f}, {slope.high:+.3f}] for 0.01 of cosine "
            f"(mixed logistic model, p {slope.p:.2g})."
        )
    return sentences


def name(each: Finding) -> str:
    """Name a source as people read it, with its setting where there are several.

    Parameters
    ----------
    each : Finding
        Of one source.
    """
    return spaced(each.evidence.source) + (f" ({each.study})" if each.study else "")


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def interval(estimate: Estimate, form: str = "+.1f") -> str:
    """Write an estimate with its interval: ``-0.31 [-0.42, -0.20]``; one that is unknown, a dash.

    Parameters
    ----------
    estimate : Estimate
        May be not a number.
    form : str
        Format of a number.
    """
    if math.isnan(estimate.value):
        return "–"
    return (
        f"{estimate.value:{form}} [{_number(estimate.low, form)}, {_number(estimate.high, form)}]"
    )


def count(number: int, noun: str) -> str:
    """Write a number with its noun: ``1 seed``, ``2 seeds``.

    Parameters
    ----------
    number : int
        How many.
    noun : str
        In the singular; its plural takes an s.
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def _unconfirmed(crossed: WordsOrGeometry) -> str:
    """Name what holds persona by persona and not answer by answer: the verdict asks for both."""
    names = {"words": "the words", "geometry": "nearness"}
    alone = [
        names[effect.term]
        for effect in crossed.effects
        if effect.scale == "persona"
        and effect.term in names
        and crossed.verdict not in ("both", effect.term)
        and effect.low * effect.high > 0
    ]
    if not alone:
        return ""
    verb = "are" if alone != ["nearness"] else "is"
    return f"; answer by answer {' and '.join(alone)} {verb} not beyond chance: not concluded"
