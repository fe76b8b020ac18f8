import pandas as pd
import pytest

from persona_leakage.data.catalog import Persona
from persona_leakage.data.persona_sets import (
    Participants,
    by_name,
    evaluated_for,
    evaluated_personas,
    measured_personas,
    records,
    taught_personas,
)
from persona_leakage.errors import InputError
from persona_leakage.study.parameters import Neighbourhood


def names(study, catalog, **changes):
    return set(measured_personas(study.model_copy(update=changes), catalog))


def test_core_is_the_eleven_and_the_conditions(study, personas):
    core = names(study, personas, personas="core")
    assert len(core) == 13
    assert core >= {"villain", "zelthari_scholar", "no_system", "empty_system"}


def test_full_is_the_whole_catalog(study, personas):
    assert names(study, personas, personas="full") == set(personas)


def test_a_neighbourhood_is_the_nearest_and_the_controls(study, personas):
    everyone = list(personas)
    near = {"superhero": 0.99, "tyrant": 0.98, "spy": 0.97}
    pairs = pd.DataFrame(
        {
            "layer": 5,
            "source": "villain",
            "persona": everyone,
            "raw": [1.0 if n == "villain" else near.get(n, 0.1) for n in everyone],
        }
    )
    elsewhere = pairs.assign(layer=4, raw=-pairs["raw"])
    close = study.model_copy(update={"personas": Neighbourhood(neighbours=3)})
    assert measured_personas(close, personas) == everyone
    both = pd.concat([elsewhere, pairs])
    chosen = set(evaluated_personas(close, personas, both, 5)["villain"])
    assert chosen >= {"villain", "superhero", "tyrant", "spy", "farmer", "librarian", "no_system"}
    assert "henchman" not in chosen


def test_without_a_neighbourhood_everyone_measured_is_evaluated_for_every_source(study, personas):
    two = study.model_copy(update={"sources": ["villain", "comedian"]})
    measured = {name: personas[name] for name in ("spy", "villain", "comedian")}
    everyone = ["spy", "villain", "comedian"]
    assert evaluated_personas(two, measured, pd.DataFrame(), 5) == {
        "villain": everyone,
        "comedian": everyone,
    }


def test_an_unused_persona_changes_neither_who_is_measured_nor_who_can_be_taught(study, personas):
    more = {**personas, "someone": Persona("someone", "unrelated", None, "You are someone.")}
    assert measured_personas(study, more) == measured_personas(study, personas)
    assert taught_personas(study, more) == taught_personas(study, personas)


def test_everyone_measured_and_every_core_persona_can_be_taught(study, personas):
    taught = set(taught_personas(study, personas))
    assert taught >= set(measured_personas(study, personas)) | {"police_officer", "no_system"}


def test_records_read_back_as_they_were_written(personas):
    written = {"personas": records(personas.values()), "measured": []}
    assert by_name(Participants.model_validate(written).personas) == personas


def test_an_unknown_persona_is_named(study, personas):
    with pytest.raises(InputError, match="personas names 'librarain', which is no persona"):
        names(study, personas, personas=["librarain"])


def test_an_unknown_source_is_named(study, personas):
    with pytest.raises(InputError, match="sources names 'vilain', which is no persona"):
        names(study, personas, sources=["vilain"])


def test_a_source_beyond_the_studys_is_compared_with_everyone_asked():
    everyone = ["villain", "spy", "comedian"]
    assert evaluated_for("comedian", {"villain": everyone}) == everyone


@pytest.mark.parametrize(
    "evaluated",
    [
        {"villain": ["villain", "spy"]},
        {"villain": ["villain", "comedian"], "spy": ["villain", "comedian", "spy"]},
    ],
)
def test_a_source_whose_company_was_not_asked_is_refused(evaluated):
    with pytest.raises(InputError, match="add comedian to sources"):
        evaluated_for("comedian", evaluated)
