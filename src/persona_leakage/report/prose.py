"""The verdict in sentences."""

from persona_leakage.report.verdict import HELD_P, Evidence, Span, Verdict, least_move
from persona_leakage.report.words import spaced
from persona_leakage.study.outcome import Outcome

RIVALS = {
    "noun": "the source's noun in the prompt",
    "words": "the overlap of prompts in content words",
    "tfidf": "the TF-IDF of prompts",
    "characters": "the letters of prompts",
}


def paragraph(conclusion: Verdict, outcome: Outcome) -> str:
    """Answer in a sentence, and say for each source what it rests on.

    Parameters
    ----------
    conclusion : Verdict
        Of the rules.
    outcome : Outcome
        For its name and unit.
    """
    if not conclusion.evidence:
        return "No contrastive cell without a clash is finished: there is nothing to conclude yet."
    opening = (
        "Whether leakage follows the cosine gradient is open: no source took up what it was taught."
        if conclusion.answer == "open"
        else f"That leakage follows the cosine gradient is {conclusion.answer} "
        f"(confidence: {conclusion.confidence})."
    )
    return " ".join([opening, *(_sentence(each, outcome) for each in conclusion.evidence)])


def _sentence(each: Evidence, outcome: Outcome) -> str:
    rho = (
        f"the change follows the cosine with Spearman's rho {span(each.rho)}, "
        f"{'p' if (each.moved or each.seeds) == 1 else 'largest p'} {each.p:.2g}"
        if each.rho.low == each.rho.low
        else "the change has no correlation with the cosine that could be computed"
    )
    return (
        f"With the {_name(each)} as source, its {outcome.name} changed by "
        f"{each.source_change:+.1f} {outcome.unit} and that of unrelated personas by "
        f"{_signed(each.unrelated_change)} {outcome.unit} (mean over "
        f"{count(each.moved or each.seeds, 'seed')}); over its {each.bystanders} never-trained "
        f"bystanders {rho}."
    )


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
    for each in conclusion.evidence:
        sentences += [f"{_name(each)}: {reason}" for reason in _reasons(each, outcome)]
    return sentences


def _reasons(each: Evidence, outcome: Outcome) -> list[str]:
    sentences, used = [], each.moved or each.seeds
    if each.moved < each.seeds:
        sentences.append(
            f"on {each.seeds - each.moved} of {count(each.seeds, 'seed')} the source moved by less "
            f"than {least_move(outcome):g} {outcome.unit}; these say nothing about leakage and are "
            "not counted."
        )
    side = "below" if outcome.direction < 0 else "above"
    for held, how in (
        (each.centred, "with mean-centred cosine"),
        (each.partial, "given the baseline and the length of the prompt"),
    ):
        sentences.append(
            f"{how} rho is {span(held.rho)}, {side} zero with p < {HELD_P} on {held.seeds} of "
            f"{count(used, 'seed')}."
        )
    for name, rival in each.rivals.items():
        alike = "" if rival.worse else ", so that words and geometry cannot be told apart"
        sentences.append(
            f"{RIVALS[name]} alone predicts with rho {span(rival.rho)}; the cosine is "
            f"better beyond its bootstrap interval on {rival.worse} of "
            f"{count(rival.seeds, 'seed')}{alike}."
        )
    if each.midpoint is None:
        sentences.append(f"no boundary can be fitted: {' or '.join(each.unfitted)}.")
    else:
        sentences.append(
            f"a boundary on {each.fitted} of {count(used, 'seed')}: {outcome.name} is half-way at "
            f"cosine {span(each.midpoint, '.4f')}."
        )
    if each.slope and each.slope.reason is None:
        slope = each.slope
        sentences.append(
            f"over all seeds the log-odds of a bystander's {outcome.name} change by "
            f"{slope.slope:+.2f} [{slope.low:+.2f}, {slope.high:+.2f}] for 0.01 of cosine "
            f"(questions and personas crossed, p {slope.p:.2g})."
        )
    return sentences


def _name(each: Evidence) -> str:
    return spaced(each.source) + (f" ({each.study})" if each.study else "")


def _signed(value: float) -> str:
    return "–" if value != value else f"{value:+.1f}"


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


def span(values: Span, form: str = "+.2f") -> str:
    """Write a span: one number where both ends read alike.

    Parameters
    ----------
    values : Span
        May be not a number.
    form : str
        Format of a number.
    """
    if values.low != values.low:
        return "–"
    low, high = format(values.low, form), format(values.high, form)
    return low if low == high else f"{low} to {high}"
