"""The rules at both sides of every bound: they read intervals, never numbers alone."""

from dataclasses import replace

import pytest
from made import ACCURACY, AGREEMENT, NAN, blank, evidence_of, numbers_of

from persona_leakage.analysis.estimate import Estimate
from persona_leakage.analysis.words_or_geometry import Effect
from persona_leakage.report.prose import reasons
from persona_leakage.report.verdict import least_move, verdict
from persona_leakage.study.outcome import Outcome


def judged(*sources, outcome=ACCURACY):
    return verdict(sources, outcome)


def finding(outcome=ACCURACY, **fields):
    return judged(numbers_of(evidence_of(outcome, **fields)), outcome=outcome).findings[0]


def both_ways(value, low, high):
    """The estimate as accuracy has it (taught: down), and as agreement has it (taught: up)."""
    return ((ACCURACY, Estimate(-value, -high, -low)), (AGREEMENT, Estimate(value, low, high)))


def test_three_seeds_of_one_gradient_are_supported_with_high_confidence():
    conclusion = judged(numbers_of(evidence_of()))
    assert (conclusion.answer, conclusion.confidence) == ("supported", "high")


@pytest.mark.parametrize(
    ("low", "high", "installed"),
    [(1.0, 1.4, "yes"), (0.9, 1.4, "unclear"), (0.2, 0.9, "no"), (-0.5, 0.3, "no")],
)
def test_a_source_is_installed_when_its_whole_interval_lies_beyond_the_least_move(
    low, high, installed
):
    for outcome, estimate in both_ways((low + high) / 2, low, high):
        scale = least_move(outcome)
        change = Estimate(*(scale * end for end in (estimate.value, estimate.low, estimate.high)))
        assert finding(outcome, source_change=change).installed == installed


def test_a_source_that_fell_no_more_than_everybody_is_not_called_installed():
    for outcome, specific in both_ways(2.0, -0.1, 4.0):
        seen = finding(outcome, specific=specific)
        assert (seen.installed, seen.course) == ("unspecific", "not asked")
        assert seen.along == "not asked"  # as the course: words and geometry of nothing


def test_what_damage_goes_along_is_that_of_the_cross_where_the_source_took_it_up():
    assert finding().along == finding().numbers.words_or_geometry.verdict == "geometry"


def test_what_no_source_took_up_leaves_the_question_open():
    still = evidence_of(source_change=Estimate(-2.0, -4.0, 1.0))
    conclusion = judged(numbers_of(still))
    assert (conclusion.answer, conclusion.confidence) == ("open", "low")


@pytest.mark.parametrize(
    ("size", "family_size", "leaks"),
    [
        ("leaks", "leaks", "yes"),
        ("no leakage", "leaks", "yes"),
        ("opposite", "leaks", "yes"),
        ("opposite", "no leakage", "opposite"),
        ("no leakage", "no leakage", "no"),
        ("no leakage", "inconclusive", "unclear"),
        ("inconclusive", "no leakage", "unclear"),
    ],
)
def test_no_leakage_takes_equivalence_of_the_family_and_of_all(size, family_size, leaks):
    assert finding(size=size, family_size=family_size).leaks == leaks


def test_a_source_without_a_family_is_judged_by_all():
    assert finding(size="no leakage", family_size="inconclusive", family=0).leaks == "no"


@pytest.mark.parametrize(
    ("value", "low", "high", "course"),
    [
        (0.6, 0.01, 0.8, "gradient"),
        (0.6, -0.01, 0.8, "cannot tell"),
        (-0.6, -0.8, -0.01, "opposite"),
        (-0.6, -0.8, 0.01, "cannot tell"),
        (0.1, -0.29, 0.29, "no gradient"),
        (0.1, -0.29, 0.30, "cannot tell"),
    ],
)
def test_a_gradient_has_a_sign_and_none_is_claimed_only_where_a_weak_one_is_excluded(
    value, low, high, course
):
    for outcome, rho in both_ways(value, low, high):
        assert finding(outcome, rho=rho).course == course


def test_everybody_who_improves_is_no_support():
    """Rho alone cannot tell: those far from the source improved, and so did those near to it."""
    seen = finding(size="opposite", family_size="opposite", rho=Estimate(0.5, 0.3, 0.7))
    assert (seen.leaks, seen.course) == ("opposite", "opposite")
    assert judged(numbers_of(seen.evidence)).answer == "not supported"


def test_a_step_is_no_gradient_whatever_its_rho():
    conclusion = judged(numbers_of(evidence_of(shape="step")))
    assert conclusion.findings[0].course == "step"
    assert conclusion.answer == "a step"


def test_personas_chosen_by_similarity_never_carry_the_test():
    conclusion = judged(numbers_of(evidence_of(by_similarity=True, shape="cannot tell")))
    assert conclusion.findings[0].course == "cannot tell"
    assert (conclusion.answer, conclusion.confidence) == ("inconclusive", "low")


@pytest.mark.parametrize(("p", "course"), [(0.049, "gradient"), (0.05, "cannot tell")])
def test_a_gradient_holds_against_pretended_sources(p, course):
    assert finding(pseudo_p=p).course == course
    assert finding(pseudo_p=NAN).course == "cannot tell"


def test_p_is_corrected_over_the_sources_of_a_setting_alone():
    def conclude(*studies):
        sources = [
            numbers_of(evidence_of(source=f"s{place}", pseudo_p=0.03), study=study)
            for place, study in enumerate(studies)
        ]
        return judged(*sources)

    together, apart = conclude("", ""), conclude("one", "other")
    assert [each.p for each in together.findings] == pytest.approx([0.06, 0.06])
    assert [each.p for each in apart.findings] == pytest.approx([0.03, 0.03])
    assert (together.answer, apart.answer) == ("inconclusive", "supported")


def test_one_source_of_two_is_partly_supported():
    none = evidence_of(source="comedian", rho=Estimate(0.0, -0.2, 0.2), pseudo_p=0.8)
    conclusion = judged(numbers_of(evidence_of()), numbers_of(none))
    assert (conclusion.answer, conclusion.confidence) == ("partly supported", "moderate")


@pytest.mark.parametrize(
    ("fields", "confidence"),
    [
        ({}, "high"),
        ({"seeds": 2}, "moderate"),
        ({"seeds": 1, "rho_by_seed": (-0.6,)}, "low"),
        ({"rho_by_seed": (-0.6, -0.5, 0.1)}, "moderate"),
        ({"rho_by_seed": (-0.6, NAN, -0.1)}, "moderate"),
    ],
)
def test_confidence_takes_three_seeds_of_one_sign(fields, confidence):
    assert judged(numbers_of(evidence_of(**fields))).confidence == confidence


def test_what_is_read_off_little_label_mass_is_of_low_confidence():
    numbers = replace(numbers_of(evidence_of()), unreadable=("the labels hold 3 %",))
    assert judged(numbers).confidence == "low"


def test_nothing_can_be_concluded_of_nothing():
    conclusion = judged()
    assert (conclusion.answer, conclusion.findings) == ("open", ())


def test_the_least_move_is_a_tenth_of_the_range_wherever_it_begins():
    rating = Outcome(
        name="rating", low=1, high=5, binary=False, direction=1, scale=10, unit="tenths"
    )
    assert least_move(rating) == pytest.approx(4)


@pytest.mark.parametrize(
    ("concluded", "high", "told"),
    [("geometry", -0.2, True), ("geometry", 0.2, False), ("both", -0.2, False)],
)
def test_what_holds_persona_by_persona_alone_is_said_not_to_be_concluded(concluded, high, told):
    numbers = numbers_of(evidence_of(), along=concluded)
    words = blank(Effect, term="words", scale="persona", low=-9.7, high=high)
    crossed = replace(numbers.words_or_geometry, reason="the words make", effects=(words,))
    conclusion = verdict([replace(numbers, words_or_geometry=crossed)], ACCURACY)
    [sentence] = [each for each in reasons(conclusion, ACCURACY) if "the words make" in each]
    assert ("answer by answer the words are not beyond chance" in sentence) == told
