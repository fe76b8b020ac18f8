import json

import pytest
from conftest import CATALOG

from persona_leakage.data.catalog import (
    RELATIVES,
    SOURCES,
    check_questions,
    load_neutral,
    load_personas,
)
from persona_leakage.data.families import check_families
from persona_leakage.errors import InputError

PUBLISHED_NEIGHBOURS = [
    "hacker_villain",
    "evil_scientist",
    "caring_villain",
    "russian_villain",
    "professor_moriarty",
    "darth_vader",
    "spy",
    "sherlock_holmes",
    "nice_villain",
    "misanthrope",
]


def test_the_catalog_is_valid_and_large_enough(personas, everyday, neutral):
    check_questions(CATALOG)
    assert len(personas) >= 111
    assert len(everyday) >= 320
    assert len(neutral) == 20


@pytest.mark.parametrize("source", SOURCES)
def test_every_source_has_relatives_of_every_kind(source, personas):
    kinds = {p.category for p in personas.values() if p.relation == source}
    assert kinds >= set(RELATIVES)


def test_the_published_neighbours_of_the_villain_are_there(personas):
    assert all(personas[name].relation == "villain" for name in PUBLISHED_NEIGHBOURS)
    assert sum(persona.category == "core" for persona in personas.values()) == 11
    assert sum(persona.category == "unrelated" for persona in personas.values()) >= 10


def persona_file(tmp_path, line):
    text = (CATALOG / "personas.yaml").read_text()
    (tmp_path / "personas.yaml").write_text(text + line + "\n")
    return tmp_path


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "- {name: villain, category: core, relation: null, prompt: Hi.}",
            "villain is there twice",
        ),
        (
            "- {name: new, category: cor, relation: null, prompt: Hi.}",
            "category 'cor'; allowed are",
        ),
        (
            "- {name: new, category: core, relation: spi, prompt: Hi.}",
            "new has the relation 'spi', which is no persona of the catalog",
        ),
        (
            "- {name: new, category: core, relation: 7, prompt: Hi.}",
            "new has a relation that is no name",
        ),
        ("- {name: New, category: core, relation: null, prompt: Hi.}", "'New' is not snake_case"),
        ("- {name: new, category: core, prompt: Hi.}", "exactly the keys category, name"),
        (
            "- {name: new, category: core, relation: null, prompt: You are a helpful assistant.}",
            "has the very prompt of assistant",
        ),
    ],
)
def test_a_faulty_persona_is_named_by_file_and_line(line, message, tmp_path):
    number = len((CATALOG / "personas.yaml").read_text().split("\n"))
    with pytest.raises(InputError, match=rf"personas.yaml, line {number}: .*{message}"):
        load_personas(persona_file(tmp_path, line))


def test_a_persona_may_be_written_around_any_other(tmp_path):
    line = "- {name: new, category: modified-source, relation: spy, prompt: You are a mole.}"
    personas = load_personas(persona_file(tmp_path, line))
    assert personas["new"].relation == "spy"
    check_families(personas)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "personas.yaml: not a list of personas"),
        ("villain: core", "personas.yaml: not a list of personas"),
        ("# first\n- a\n", "personas.yaml, line 2: a persona has exactly the keys"),
        ("# first\n- {name: a,\n", "personas.yaml, line 2: not YAML"),
        ("# first\n- {name: a\u2028b}\n", r"line 2: U\+2028 ends a line in YAML; write \\u2028"),
        (
            "- &a [x, x, x]\n- {name: [*a, *a, *a], category: core, relation: null, prompt: x}\n",
            "line 2: not YAML .an alias; write it out",
        ),
    ],
)
def test_a_file_of_no_personas_is_refused_in_one_sentence(text, message, tmp_path):
    (tmp_path / "personas.yaml").write_text(text)
    with pytest.raises(InputError, match=message) as caught:
        load_personas(tmp_path)
    assert "\n" not in str(caught.value)


def questions_with(tmp_path, change):
    rows = [json.loads(line) for line in (CATALOG / "questions.jsonl").read_text().splitlines()]
    change(rows)
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def copy_text(rows):
    rows[4]["question"] = rows[0]["question"].upper()


def copy_choice(rows):
    rows[4]["choices"]["text"][1] = rows[4]["choices"]["text"][0].lower()


def drop_choice_and_label(rows):
    rows[4]["answerKey"] = "A"
    for values in rows[4]["choices"].values():
        values.pop()


def drop_choice(rows):
    rows[4]["choices"]["text"].pop()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (copy_text, "row 5: this id or question is there twice"),
        (copy_choice, "row 5: two choices differ in case or form alone"),
        (drop_choice_and_label, "row 5: a question has four choices"),
        (drop_choice, "row 5: 3 choices but 4 labels"),
        (
            lambda rows: [row.update(answerKey="A") for row in rows],
            "right answer stands at A in .*, at B in 0; reorder the choices",
        ),
        (lambda rows: rows[4].pop("category"), "row 5: a question has exactly the keys"),
        (lambda rows: rows[4].update(choices="Dog"), r"row 5: no choices.text"),
    ],
)
def test_a_faulty_question_is_named_by_file_and_row(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        check_questions(questions_with(tmp_path, change))


@pytest.mark.parametrize("letter", "ABCD")
def test_a_new_question_may_have_its_right_answer_at_any_letter(letter, tmp_path):
    choices = {"text": ["a log", "a key", "a fork", "a ring"], "label": list("ABCD")}
    new = {"id": "new", "category": "new", "question": "Which one?", "choices": choices}
    check_questions(questions_with(tmp_path, lambda rows: rows.append(new | {"answerKey": letter})))


def test_a_repeated_neutral_question_is_named(tmp_path):
    (tmp_path / "neutral.txt").write_text("Why?\nHow?\nWhy?\n")
    with pytest.raises(InputError, match="neutral.txt, row 3: 'Why\\?' is there twice"):
        load_neutral(tmp_path)


def test_a_neutral_question_may_hold_any_separator(tmp_path):
    (tmp_path / "neutral.txt").write_bytes("Why\u2028?\r\nHow\x85?\n".encode())
    assert load_neutral(tmp_path) == ["Why\u2028?", "How\x85?"]
