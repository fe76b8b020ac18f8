"""Families: who was written around a source."""

from persona_leakage.data.catalog import SOURCES, Persona
from persona_leakage.data.relations import clusters_of, family_of


def test_the_family_of_a_source_is_whoever_names_it_as_relation(personas):
    family = family_of(personas, "villain")
    assert {"villain", "nice_villain", "evil_scientist"} <= family
    assert {personas[name].category for name in family} >= {"paraphrase", "decoy", "near-twin"}
    assert not family & {"comedian", "no_system", "police_officer", "kind_kindergarten_teacher"}
    assert all(personas[name].relation == "villain" for name in family)


def test_families_of_the_sources_do_not_overlap(personas):
    families = [family_of(personas, source) for source in SOURCES]
    assert len(frozenset().union(*families)) == sum(len(family) for family in families)


def test_a_relative_that_is_a_source_has_the_same_family(personas):
    assert family_of(personas, "nice_villain") == family_of(personas, "villain")


def test_a_source_without_relation_is_a_family_by_itself(personas):
    assert family_of(personas, "police_officer") == {"police_officer"}


def test_clusters_are_families_and_single_personas():
    personas = {
        "a": Persona("a", "core", "villain", "A."),
        "b": Persona("b", "decoy", "villain", "B."),
        "c": Persona("c", "unrelated", None, "C."),
    }
    assert clusters_of(personas) == {"a": "villain", "b": "villain", "c": "c"}
