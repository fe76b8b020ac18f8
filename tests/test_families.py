from dataclasses import replace

import pytest

from persona_leakage.data.catalog import SOURCES, Persona
from persona_leakage.data.families import (
    SMALLEST,
    check_families,
    content_stems,
    family_table,
    shared_stems,
)
from persona_leakage.errors import InputError


@pytest.fixture
def rows(personas):
    return family_table(personas).set_index(["kind", "source"])


def members(personas, kind):
    return [persona for persona in personas.values() if persona.category == kind]


def test_the_catalog_keeps_every_rule(personas):
    check_families(personas)


def test_every_source_has_its_three_kinds(personas):
    counts = {
        (source, kind): sum(persona.relation == source for persona in members(personas, kind))
        for source in SOURCES
        for kind in SMALLEST
    }
    assert counts == {(s, k): n for s in SOURCES for k, n in SMALLEST.items()}


def test_the_additions_leave_the_personas_that_are_drawn_alone(personas):
    core = [persona.name for persona in members(personas, "core")]
    assert core[:5] == list(SOURCES)
    assert len(core) == 11


def test_no_prompt_is_another_but_for_case_or_stop(personas):
    prompts = [p.prompt.casefold().rstrip(".") for p in personas.values() if p.prompt]
    assert len(set(prompts)) == len(prompts)


@pytest.mark.parametrize("source", SOURCES)
def test_words_are_in_decoys_and_near_twins_alone_while_lengths_are_alike(source, rows):
    paraphrases, decoys = rows.loc[("paraphrase", source)], rows.loc[("decoy", source)]
    assert paraphrases["shared_stems"] == 0
    assert decoys["shared_stems"] >= 2
    own = rows.loc[("source", source)]
    assert own["shared_stems"] >= rows.loc[("near-twin", source)]["shared_stems"] > 0
    assert abs(paraphrases["words"] - decoys["words"]) <= 1.5
    assert abs(paraphrases["words"] - own["words"]) <= 3


@pytest.mark.parametrize("source", SOURCES)
def test_every_word_of_a_source_is_in_several_of_its_decoys(source, personas):
    decoys = [content_stems(d.prompt) for d in members(personas, "decoy") if d.relation == source]
    for stem in content_stems(personas[source].prompt):
        assert sum(stem in decoy for decoy in decoys) >= 3, stem


def test_content_stems_have_no_stop_words_and_no_endings():
    villain = "You are a villainous mastermind who schemes to take over the world."
    assert content_stems(villain) == {"villain", "mastermind", "scheme", "world"}
    assert content_stems("Worldly VILLAINS, scheming everywhere") == content_stems(
        "the world of a villain's scheme"
    )


def test_irregular_forms_have_the_stem_of_their_word():
    assert content_stems("built, taught") == content_stems("builds, teaches")
    assert content_stems("a child") == content_stems("children")


def test_shared_stems_count_each_word_once_and_ignore_stop_words():
    source = "You are a helpful assistant."
    assert shared_stems(source, "You are a helpful assistant who assists by helping.") == 2
    assert shared_stems(source, "You are a tyrant.") == 0


@pytest.mark.parametrize(
    ("source", "word"),
    [
        ("villain", "schemer"),
        ("villain", "worldly"),
        ("villain", "underworld"),
        ("villain", "supervillain"),
        ("villain", "villainy"),
        ("comedian", "comedy"),
        ("comedian", "joker"),
        ("comedian", "stood"),
        ("assistant", "helper"),
        ("assistant", "unhelpful"),
        ("software_engineer", "engine"),
        ("software_engineer", "rebuilds"),
        ("software_engineer", "built"),
        ("software_engineer", "maintenance"),
        ("software_engineer", "programmer"),
        ("software_engineer", "largest"),
        ("kindergarten_teacher", "taught"),
        ("kindergarten_teacher", "child"),
        ("kindergarten_teacher", "explanation"),
        ("kindergarten_teacher", "smallest"),
    ],
)
def test_a_paraphrase_with_a_word_akin_to_the_source_is_refused(source, word, personas):
    bad = Persona("bad_one", "paraphrase", source, f"You know the {word} well.")
    with pytest.raises(InputError, match=f"the paraphrase bad_one says '{word}'.* of {source};"):
        check_families({**personas, "bad_one": bad})


def test_a_paraphrase_may_share_stop_words(personas):
    fine = Persona("fine", "paraphrase", "villain", "You are one who will take over everything.")
    check_families({**personas, "fine": fine})


@pytest.mark.parametrize(
    ("prompt", "shared"),
    [
        ("You are a florist who sells tulips.", "no word"),
        ("You are a florist known the world over.", "world"),
        ("You are a florist in the old world and the new world.", "world"),
    ],
)
def test_a_decoy_with_fewer_than_two_words_is_refused(prompt, shared, personas):
    bad = Persona("bad_one", "decoy", "villain", prompt)
    with pytest.raises(InputError, match=f"the decoy bad_one shares {shared} with"):
        check_families({**personas, "bad_one": bad})


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("You are a HELPFUL assistant", "changes 0 words .*no new word"),
        ("You are a kind, wise and helpful assistant.", r"changes 3 words .*kind, wise and"),
        ("You are.", "changes 3 words .*no new word"),
    ],
)
def test_a_near_twin_that_changes_nothing_or_too_much_is_refused(prompt, message, personas):
    bad = Persona("bad_one", "near-twin", "assistant", prompt)
    with pytest.raises(InputError, match=f"the near-twin bad_one {message}"):
        check_families({**personas, "bad_one": bad})


@pytest.mark.parametrize("lacking", [{"relation": None}, {"prompt": None}, {"prompt": ""}])
@pytest.mark.parametrize("kind", SMALLEST)
def test_a_family_member_without_source_or_prompt_is_refused(kind, lacking, personas):
    bad = replace(members(personas, kind)[0], **lacking)
    with pytest.raises(InputError, match=f"{kind} {bad.name} lacks a source or a prompt"):
        check_families({**personas, bad.name: bad})


@pytest.mark.parametrize("kind", SMALLEST)
def test_a_family_that_is_too_small_is_refused(kind, personas):
    last = members(personas, kind)[-1]
    fewer = {name: persona for name, persona in personas.items() if name != last.name}
    smallest = SMALLEST[kind]
    with pytest.raises(
        InputError, match=f"{last.relation} has {smallest - 1} personas of category {kind}"
    ):
        check_families(fewer)


def test_a_source_without_any_member_of_a_kind_is_refused(personas):
    fewer = {
        name: persona
        for name, persona in personas.items()
        if (persona.category, persona.relation) != ("decoy", "comedian")
    }
    with pytest.raises(InputError, match="comedian has 0 personas of category decoy"):
        check_families(fewer)


def test_paraphrases_longer_than_decoys_are_refused(personas):
    long = {
        name: replace(persona, prompt=persona.prompt[:-1] + " and even more than that.")
        if (persona.category, persona.relation) == ("paraphrase", "comedian")
        else persona
        for name, persona in personas.items()
    }
    with pytest.raises(InputError, match="paraphrases of comedian have .* the decoys 12"):
        check_families(long)
