import pandas as pd
import pytest

from persona_leakage.data.persona_sets import chosen_personas, evaluated_for
from persona_leakage.errors import InputError
from persona_leakage.study.parameters import Neighbourhood


def names(study, catalog, *similarity, **changes):
    changed = study.model_copy(update=changes)
    chosen = chosen_personas(changed, catalog, *similarity)
    return {persona.name for persona in chosen["villain"]}


def test_core_is_the_eleven_and_the_conditions(study, personas):
    core = names(study, personas, personas="core")
    assert len(core) == 13
    assert core >= {"villain", "zelthari_scholar", "no_system", "empty_system"}


def test_full_is_the_whole_catalog(study, personas):
    assert names(study, personas, personas="full") == set(personas)


def test_a_neighbourhood_is_the_nearest_and_the_controls(study, personas):
    everyone = list(personas)
    near = {"superhero": 0.99, "tyrant": 0.98, "spy": 0.97}
    similarity = pd.DataFrame(
        {
            "source": "villain",
            "persona": everyone,
            "raw": [1.0 if n == "villain" else near.get(n, 0.1) for n in everyone],
        }
    )
    chosen = names(study, personas, similarity, personas=Neighbourhood(neighbours=3))
    assert chosen >= {"villain", "superhero", "tyrant", "spy", "farmer", "librarian", "no_system"}
    assert "henchman" not in chosen


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
