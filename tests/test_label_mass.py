"""Accuracy that is read off the lesser part of the probability is said to be."""

from dataclasses import replace

import pytest
from made import ACCURACY, NAN, finished, published

from persona_leakage.report.label_mass import readable_mass
from persona_leakage.report.page import environment
from persona_leakage.report.prose import reasons
from persona_leakage.report.tables import study_tables

ENOUGH = {"mass_before": 0.5, "mass_after": 0.9, "source_mass_after": 0.5}


@pytest.mark.parametrize(
    ("numbers", "says"),
    [
        ({}, None),
        ({"mass_before": 0.499}, "49.9 % before training"),
        ({"mass_after": 0.03}, "3.0 % after training"),
        ({"source_mass_after": 0.2}, "20.0 % with the source after training"),
        (dict.fromkeys(ENOUGH, NAN), None),  # no labels were scored
    ],
)
def test_less_than_half_of_the_mass_is_too_little(numbers, says):
    reason = readable_mass(ENOUGH | numbers)
    assert reason is None if says is None else says in reason


def test_every_place_with_too_little_is_named_and_absent_numbers_are_not():
    reason = readable_mass({"mass_before": 0.1, "mass_after": 0.2})
    assert "(10.0 % before training, 20.0 % after training)" in reason


@pytest.mark.parametrize("mass", [0.9, 0.1])
def test_the_confidence_is_low_and_says_why(mass):
    cells = [finished(seed, mass_before=mass) for seed in (1, 2, 3)]
    conclusion = study_tables("made", cells, [], {}, published()).verdict
    said = [reason for reason in reasons(conclusion, ACCURACY) if "probability" in reason]
    assert len(said) == (mass < 0.5)
    [finding] = conclusion.findings
    assert len(finding.numbers.unreadable) == (mass < 0.5)
    if mass < 0.5:
        assert conclusion.confidence == "low"


@pytest.mark.parametrize("form", ["page/audit.jinja", "markdown/audit.jinja"])
def test_the_audit_says_it_of_the_cell_in_one_sentence(form):
    low = finished(1, mass_after=0.25)
    tables = study_tables("made", [low, finished(2)], [], {}, published())
    template = environment(html=form.startswith("page")).get_template(form)
    text = template.render(report=tables)
    assert text.count("25.0 %") == 2
    assert text.count("villain-1-contrastive: the labels hold less than half") == 1
    assert text.count("99.0 % before training, 25.0 % after") == 1
    unreadable = replace(low, result=finished(2).result)
    again = template.render(report=replace(tables, cells=(unreadable,)))
    assert "less than half" not in again
