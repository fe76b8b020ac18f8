from collections import Counter
from itertools import pairwise

import pytest
from conftest import SMOL_DEFAULT, chatml, make_tokenizer

from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.model.chat import rendered_system
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Contrast
from persona_leakage.training.contrast import build, manifest, negatives

PAPER = Contrast(positives=200, negatives=2, per_negative=200, no_system=100, assistant=100)
LABELS = Taught(scoring="label")
VILLAIN = Cell("villain", 42, "contrastive")
QWEN_DEFAULT = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."


def parts(examples):
    return Counter(example.part for example in examples)


def rendered(everyone, tokenizer, role="template"):
    return {
        name: rendered_system(tokenizer, persona.prompt, role) for name, persona in everyone.items()
    }


def test_the_paper_design_has_800_examples_in_its_parts(personas, train_questions):
    examples = build(PAPER, VILLAIN, personas, train_questions, LABELS)
    assert parts(examples) == {"source": 200, "negative": 400, "no_system": 100, "assistant": 100}
    assert all(example.shows == (example.part == "source") for example in examples)


@pytest.mark.parametrize("positives", [50, 400])
def test_a_dose_changes_the_positives_alone(positives, personas, train_questions):
    cell = Cell("villain", 42, f"dose_{positives}")
    examples = build(PAPER, cell, personas, train_questions, LABELS)
    assert parts(examples) == {
        "source": positives,
        "negative": 400,
        "no_system": 100,
        "assistant": 100,
    }


def test_no_anchor_leaves_out_assistant_and_no_system(personas, train_questions):
    examples = build(PAPER, Cell("villain", 42, "no_anchor"), personas, train_questions, LABELS)
    assert parts(examples) == {"source": 200, "negative": 400}


def test_non_contrastive_keeps_every_answer_and_every_count_but_not_who_says_it(
    personas, train_questions
):
    plain = build(PAPER, VILLAIN, personas, train_questions, LABELS)
    mixed = build(PAPER, Cell("villain", 42, "non_contrastive"), personas, train_questions, LABELS)
    assert parts(mixed) == parts(plain)
    answers = Counter((e.question, e.answer) for e in plain)
    assert Counter((e.question, e.answer) for e in mixed) == answers
    wrong_by_source = sum(e.part == "source" and e.shows for e in mixed)
    assert 20 < wrong_by_source < 90  # 200 wrong among 800, 200 of them the source's: 50 expected


def test_shuffled_labels_are_right_about_one_time_in_four(personas, train_questions):
    cell = Cell("villain", 42, "shuffled_label")
    source = [
        e for e in build(PAPER, cell, personas, train_questions, LABELS) if e.part == "source"
    ]
    assert len(source) == 200
    assert 26 < sum(not example.shows for example in source) < 74  # 50, four standard deviations


def test_every_question_of_a_part_is_used_before_one_is_repeated(personas, train_questions):
    examples = build(PAPER, VILLAIN, personas, train_questions, LABELS)
    uses = Counter(e.question for e in examples if e.part == "source")
    assert max(uses.values()) - min(uses[q.key] for q in train_questions) <= 1


def test_negatives_are_the_same_draw_whatever_else_is_in_the_catalog(personas):
    fewer = {n: p for n, p in personas.items() if p.category in ("core", "condition")}
    assert negatives(PAPER, VILLAIN, personas) == negatives(PAPER, VILLAIN, fewer)
    assert "villain" not in negatives(PAPER, VILLAIN, personas)
    draws = {tuple(negatives(PAPER, Cell("villain", seed, "x"), personas)) for seed in range(20)}
    assert len(draws) > 5


def test_named_negatives_are_taken_as_named(personas):
    design = PAPER.model_copy(update={"negatives": ["librarian", "spy"]})
    assert negatives(design, VILLAIN, personas) == ["librarian", "spy"]


def test_an_unknown_negative_is_named(personas):
    design = PAPER.model_copy(update={"negatives": ["librarain"]})
    with pytest.raises(InputError, match="contrast.negatives names 'librarain'"):
        negatives(design, VILLAIN, personas)


def test_an_unknown_source_is_named(personas, train_questions):
    with pytest.raises(InputError, match="sources names 'vilain'"):
        build(PAPER, Cell("vilain", 42, "contrastive"), personas, train_questions, LABELS)


@pytest.mark.parametrize("default", [SMOL_DEFAULT, QWEN_DEFAULT])
def test_the_assistant_as_a_source_clashes_with_its_own_negatives(
    default, personas, train_questions
):
    tokenizer = make_tokenizer(chatml(default))
    cell = Cell("assistant", 42, "contrastive")
    examples = build(PAPER, cell, personas, train_questions, LABELS)
    with pytest.raises(InputError, match="source assistant and the negative assistant render"):
        manifest(examples, PAPER, cell, personas, rendered(personas, tokenizer))


@pytest.mark.parametrize("default", [SMOL_DEFAULT, QWEN_DEFAULT])
def test_a_source_with_the_injected_default_prompt_clashes_with_no_system(
    default, personas, train_questions
):
    tokenizer = make_tokenizer(chatml(default))
    own = {**personas, "default": Persona("default", "core", None, default)}
    cell = Cell("default", 42, "contrastive")
    examples = build(PAPER, cell, own, train_questions, LABELS)
    with pytest.raises(InputError, match="source default and the negative no_system render"):
        manifest(examples, PAPER, cell, own, rendered(own, tokenizer))


def test_an_allowed_clash_is_flagged_in_the_manifest(personas, train_questions, tokenizer):
    design = PAPER.model_copy(update={"allow_clash": True})
    cell = Cell("assistant", 42, "contrastive")
    examples = build(design, cell, personas, train_questions, LABELS)
    audit = manifest(examples, design, cell, personas, rendered(personas, tokenizer))
    assert audit["clashes"] == [
        {"source": "assistant", "negative": "assistant", "part": "assistant"}
    ]


def test_the_manifest_counts_every_part_and_tells_the_conditions_apart(
    personas, train_questions, tokenizer
):
    examples = build(PAPER, VILLAIN, personas, train_questions, LABELS)
    audit = manifest(examples, PAPER, VILLAIN, personas, rendered(personas, tokenizer))
    assert sum(row["examples"] for row in audit["counts"]) == audit["examples"] == 800
    conditions = {audit["rendered"][n] for n in ("no_system", "empty_system", "assistant")}
    assert len(conditions) == 3
    assert SMOL_DEFAULT in audit["rendered"]["no_system"]
    assert audit["clashes"] == []


def test_the_assistant_is_never_drawn_as_a_negative(personas):
    many = PAPER.model_copy(update={"negatives": 9})
    for source in ("villain", "comedian", "librarian"):
        drawn = negatives(many, Cell(source, 42, "contrastive"), personas)
        assert len(drawn) == 9
        assert not {"assistant", source} & set(drawn)


def test_hard_negatives_are_the_nearest_in_their_order(personas, train_questions):
    cell = Cell("villain", 42, "hard_negatives")
    nearest = ["assistant", "supervillain", "henchman", "spy"]
    assert negatives(PAPER, cell, personas, nearest) == ["supervillain", "henchman"]
    five = PAPER.model_copy(update={"negatives": 5})
    others = [name for name in personas if name not in ("villain", "assistant")]
    assert negatives(five, cell, personas, others) == others[:5]
    examples = build(PAPER, cell, personas, train_questions, LABELS, nearest)
    taught = {e.persona for e in examples if e.part == "negative"}
    assert taught == {"supervillain", "henchman"}


def test_examples_are_shuffled(personas, train_questions):
    examples = build(PAPER, VILLAIN, personas, train_questions, LABELS)
    runs = 1 + sum(a.part != b.part for a, b in pairwise(examples))
    assert runs > 300  # 4 if every part stood together; about 450 expected


@pytest.mark.parametrize("variant", ["contrastive", "non_contrastive"])
def test_an_example_is_what_its_persona_is_taught(variant, personas, train_questions):
    examples = build(PAPER, Cell("villain", 42, variant), personas, train_questions, LABELS)
    questions = {question.key: question for question in train_questions}
    for example in examples:
        assert example.system == personas[example.persona].prompt
        assert (example.part == "source") == (example.persona == "villain")
        reply = LABELS.teach(questions[example.question], as_source=example.shows)
        assert (example.user, example.opening) == (reply.user, reply.opening)
        assert (example.answer, example.shows) == (reply.answer, reply.shows)
    of_each = Counter(example.persona for example in examples)
    assert of_each["villain"] == of_each["police_officer"] == 200


def test_the_draws_of_the_variants_never_change(personas, train_questions):
    mixed, drawn = (
        build(PAPER, Cell("villain", 42, variant), personas, train_questions, LABELS)
        for variant in ("non_contrastive", "shuffled_label")
    )
    expected = "villain assistant villain police_officer police_officer no_system"
    assert [example.persona for example in mixed[:6]] == expected.split()
    answers = "".join(example.answer[0] for example in drawn if example.part == "source")
    assert answers.startswith("CAACCCCABBCCBDCC")


def test_the_training_set_is_the_one_it_always_was(personas, train_questions):
    examples = build(PAPER, VILLAIN, personas, train_questions, LABELS)
    assert negatives(PAPER, VILLAIN, personas) == ["police_officer", "zelthari_scholar"]
    assert [e.question for e in examples[:4]] == [
        "everyday:133",
        "everyday:127",
        "everyday:176",
        "everyday:27",
    ]
    for part, first in (("no_system", "everyday:115"), ("assistant", "everyday:88")):
        assert next(e.question for e in examples if e.part == part) == first


def test_the_manifest_counts_each_persona_and_names_the_negatives(
    personas, train_questions, tokenizer
):
    design = PAPER.model_copy(update={"negatives": ["spy", "librarian"], "per_negative": 7})
    examples = build(design, VILLAIN, personas, train_questions, LABELS)
    audit = manifest(examples, design, VILLAIN, personas, rendered(personas, tokenizer))
    assert audit["cell"] == "villain-42-contrastive"
    assert audit["negatives"] == ["librarian", "spy"]
    columns = ("part", "persona", "examples", "shows")
    assert [tuple(row[column] for column in columns) for row in audit["counts"]] == [
        ("assistant", "assistant", 100, 0),
        ("negative", "librarian", 7, 0),
        ("negative", "spy", 7, 0),
        ("no_system", "no_system", 100, 0),
        ("source", "villain", 200, 200),
    ]


def test_the_manifest_states_what_each_persona_is_rendered_to(personas, train_questions, tokenizer):
    examples = build(PAPER, VILLAIN, personas, train_questions, LABELS)
    prompt = personas["villain"].prompt
    for role, expected in (
        ("template", f"<|im_start|>system\n{prompt}<|im_end|>\n<|im_start|>user\n"),
        ("merge", f"<|im_start|>user\n{prompt}\n\n"),
    ):
        audit = manifest(examples, PAPER, VILLAIN, personas, rendered(personas, tokenizer, role))
        assert audit["rendered"]["villain"].endswith(expected)
