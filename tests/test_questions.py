import hashlib
import json
import shutil
from collections import Counter
from dataclasses import asdict, replace

import pytest
import yaml
from conftest import ARC, CATALOG, ROOT

from persona_leakage.data.questions import (
    Question,
    alike_choices,
    check,
    read_questions,
    write_questions,
)
from persona_leakage.data.split import at_most, near_duplicates, split, with_wrong_answer
from persona_leakage.data.words import overlap, words
from persona_leakage.errors import InputError
from persona_leakage.files import read_json, sha256
from persona_leakage.pipeline import questions as stage

# every drawn wrong answer of ARC-Challenge at seed 42, in rows: results rest on these
WRONG_ANSWERS = "7c59b7d53790ec4fb4bfb684fe331d0187298a865b9f901e73c24824a8e0876e"
FIRST_TRAIN_ROWS = [1, 2, 4, 5, 6, 7, 8, 9, 10, 14]


def test_the_split_is_by_row_half_and_half_and_disjoint(arc):
    train, evaluate = split(arc, 0.5, 42)
    assert (len(train), len(evaluate)) == (586, 586)
    assert {q.row for q in train}.isdisjoint(q.row for q in evaluate)
    assert {q.row for q in train} | {q.row for q in evaluate} == set(range(1172))


def test_the_split_has_the_same_rows_on_any_machine(arc):
    train, _ = split(arc, 0.5, 42)
    assert [q.row for q in train[:10]] == FIRST_TRAIN_ROWS
    assert [q.row for q in split(arc, 0.5, 43)[0][:10]] != FIRST_TRAIN_ROWS


def test_arc_has_the_labels_and_the_repeated_texts_that_its_description_states(arc):
    shapes = Counter("".join(question.labels) for question in arc)
    assert shapes == {"ABCD": 1144, "1234": 21, "ABC": 3, "ABCDE": 3, "123": 1}
    texts = Counter(question.text for question in arc)
    assert sum(count > 1 for count in texts.values()) == 2


def asked(text="Which of these floats?", choices=("a cork", "a nail", "a coin"), row=0, **changes):
    labels = tuple("ABCDEFGH"[: len(choices)])
    return replace(Question("mmlu", row, str(row), text, choices, labels, answer=0), **changes)


def test_the_draws_of_the_everyday_questions_never_change(everyday):
    assert [q.row for q in split(everyday, 0.5, 42)[0][:8]] == [0, 1, 2, 6, 8, 9, 10, 11]
    drawn = [9, 129, 136, 143, 182, 270, 280, 307, 342, 362]
    assert [q.row for q in at_most(everyday, 10, 42)] == drawn
    wrong = [with_wrong_answer(question, 42).wrong for question in everyday[:12]]
    assert wrong == [0, 2, 2, 3, 2, 3, 1, 1, 3, 1, 3, 2]


def test_a_draw_depends_on_its_seed_and_a_split_on_the_benchmark(everyday):
    others = [replace(question, benchmark="other") for question in everyday]
    rows = {
        tuple(question.row for question in split(questions, 0.5, seed)[0])
        for questions in (everyday, others)
        for seed in (42, 43)
    }
    assert len(rows) == 4
    wrong = [[with_wrong_answer(question, seed).wrong for question in everyday] for seed in (1, 2)]
    assert wrong[0] != wrong[1]


def test_both_parts_of_a_split_keep_the_order_of_the_benchmark(arc):
    for part in split(arc, 0.3, 7):
        assert [q.row for q in part] == sorted(q.row for q in part)


def test_questions_of_one_text_are_split_by_row():
    alike = [asked(row=row) for row in range(10)]
    train, evaluate = split(alike, 0.5, 42)
    assert (len(train), len(evaluate)) == (5, 5)
    assert sorted(q.row for q in train + evaluate) == list(range(10))


def test_at_most_keeps_the_order_and_the_number(everyday):
    kept = at_most(everyday, 20, 42)
    assert len(kept) == 20
    assert [q.row for q in kept] == sorted(q.row for q in kept)
    assert kept != everyday[:20]
    assert kept != at_most(everyday, 20, 43)
    assert at_most(everyday, None, 42) == at_most(everyday, len(everyday), 42) == everyday


def test_wrong_answers_are_wrong_and_spread_over_the_incorrect_choices(arc):
    drawn = [with_wrong_answer(question, 42) for question in arc]
    assert all(question.wrong not in question.right for question in drawn)
    ranks = Counter(
        [i for i in range(4) if i != q.answer].index(q.wrong) for q in drawn if len(q.choices) == 4
    )
    # 1,165 draws of three: four standard deviations of a binomial are 64
    assert all(abs(ranks[rank] - 1165 / 3) < 64 for rank in range(3))


def test_the_drawn_wrong_answers_of_arc_never_change(arc):
    drawn = [with_wrong_answer(question, 42).wrong for question in arc]
    assert hashlib.sha256(bytes(drawn)).hexdigest() == WRONG_ANSWERS


@pytest.mark.parametrize(
    "twin", ["Caf\u00e9 au lait", "Cafe\u0301 au lait", " Caf\u00e9\u00a0 au\nlait "]
)
def test_a_wrong_answer_is_never_the_right_text(twin):
    question = asked(choices=("tea", twin, "Caf\u00e9 au lait", "milk"), answer=2)
    assert question.right == {1, 2}
    drawn = {with_wrong_answer(replace(question, row=row), 42).wrong for row in range(60)}
    assert drawn == {0, 3}


@pytest.mark.parametrize("choices", [("Rr", "RR", "rr"), ("10\u00b2", "102", "1o2")])
def test_choices_that_case_or_superscripts_tell_apart_remain_different(choices):
    assert asked(choices=choices).right == {0}


def test_alike_choices_are_listed_with_what_becomes_of_them():
    same = asked(choices=("4", "5", "4", "6"))
    wrong = asked(choices=("4", "5", "5 "), row=1)
    case = asked(choices=("Rr", "RR", "tt"), row=2)
    listed = alike_choices([same, wrong, case, asked(row=3)])
    assert [(r["question"], r["labels"], r["right"], r["same"]) for r in listed] == [
        ("mmlu:0", ["A", "C"], True, True),
        ("mmlu:1", ["B", "C"], False, True),
        ("mmlu:2", ["A", "B"], True, False),
    ]


def test_only_one_question_of_arc_has_alike_choices_and_none_the_same(arc):
    [record] = alike_choices(arc)
    assert record["texts"] == ["rr", "Rr", "RR"]
    assert not record["same"]
    assert all(question.right == {question.answer} for question in arc)


def test_equal_texts_across_the_split_are_listed_as_near_duplicates(arc):
    repeated = [q for q in arc if sum(q.text == other.text for other in arc) == 2]
    one, two = repeated[0], next(q for q in repeated[1:] if q.text == repeated[0].text)
    pairs = near_duplicates([one], [two, arc[5]])
    assert pairs == [{"train": one.key, "evaluate": two.key, "overlap": 1.0, "exact": True}]


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("a b c d", "a b c d e", 0.8),  # just enough
        ("a b c d e", "D, C? b: A!", 0.8),
        ("a b c d e f g h", "a b c d e f g h i", 0.889),
        ("a b c", "a b c d", None),  # 0.75
        ("a b c d e f g h x", "a b c d e f g h y", 0.8),
        ("a b c d e f g x", "a b c d e f g y", None),  # 0.778, as many words
        ("a b c d e f g h i j k l m n o 1 2", "a b c d e f g h i j k l m n o 3 4", None),  # 0.789
        ("水的化学式是什么", "水的化学式是什么呢", 0.889),
        ("水的化学式", "谁写了这本书", None),
        ("КТО это?", "кто это", 1.0),
        ("\uff11\uff12 + 3 = ?", "12 + 3 = ?", 1.0),  # full-width digits
        ("\U0001f436\U0001f431", "\U0001f431 \U0001f436", 1.0),
        ("\U0001f436", "\U0001f431", None),
        ("?!", "a b", None),
    ],
)
def test_near_duplicates_share_four_fifths_of_their_words_in_any_script(one, other, shared):
    pairs = near_duplicates([asked(one)], [asked(other, row=1)])
    expected = {"train": "mmlu:0", "evaluate": "mmlu:1", "overlap": shared, "exact": False}
    assert pairs == ([] if shared is None else [expected])


def test_a_question_too_short_to_match_does_not_hide_those_after_it():
    evaluate = [asked(text, row=row) for row, text in enumerate(("a", "a b c d", "a", "d c b a"))]
    found = near_duplicates([asked("a b c d", row=9)], evaluate)
    assert [(pair["evaluate"], pair["exact"]) for pair in found] == [
        ("mmlu:1", True),
        ("mmlu:3", False),
    ]


def test_empty_texts_share_everything_and_nothing_with_others():
    assert words("") == words(" \u2028\n") == frozenset()
    assert overlap(words(""), words("")) == 1.0
    assert overlap(words(""), words("a")) == 0.0


NASTY = [
    "line\u2028separator",
    "paragraph\u2029separator",
    "next\u0085line",
    "\x0bvertical\x0cform\x1cfile\x1dgroup\x1erecord",
    "carriage\r\nreturn\r",
    "\x00null\ufeffmark\u200bspace",
    '"quotes" \\u2028 \\ {braces}',
    "\u4e2d\u6587 \U0001f436 e\u0301 \u202eright to left",
]


@pytest.mark.parametrize("text", NASTY)
def test_any_text_survives_writing_and_reading(text, tmp_path):
    questions = [
        asked(f"Why {text}?", (f"a {text}", "b", "c"), row=row, wrong=wrong)
        for row, wrong in enumerate((None, 1, 2))
    ]
    write_questions(tmp_path / "q.jsonl", questions)
    assert read_questions(tmp_path / "q.jsonl") == questions


def test_real_questions_survive_writing_and_reading(everyday, arc, tmp_path):
    drawn = [with_wrong_answer(question, 42) for question in arc]
    write_questions(tmp_path / "q.jsonl", [*everyday, *drawn])
    assert read_questions(tmp_path / "q.jsonl") == [*everyday, *drawn]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer": None}, "answer: Input should be a valid integer"),
        ({"answer": True}, "answer: "),
        ({"answer": 3}, "the answer 3 is not among the choices"),
        ({"answer": -1}, "the answer -1 is not among"),
        ({"wrong": 0}, "the wrong answer 0 is no wrong choice"),
        ({"wrong": 9}, "the wrong answer 9 is no wrong choice"),
        ({"choices": "Dog"}, "choices: Input should be a valid tuple"),
        ({"choices": ["a", None, "c"]}, r"choices.1: Input should be a valid string"),
        ({"choices": ["a", "b"]}, "2 choices but 3 labels"),
        ({"labels": ["A", "B", "B"]}, "the labels A, B, B do not tell the choices apart"),
        ({"text": " \u200b"}, "an empty question or choice"),
        ({"surplus": 1}, "surplus: "),
        ({"row": 1.5}, "row: "),
    ],
)
def test_a_row_that_is_no_question_is_named_with_its_fault(changes, message, tmp_path):
    path = tmp_path / "q.jsonl"
    rows = [asdict(asked()), asdict(asked(row=1)) | changes]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(InputError, match=f"q.jsonl, row 2: .*{message}"):
        read_questions(path)


@pytest.mark.parametrize("letter", ["\uf061", "🐶", "∅", "е́", "\U000e0041x"])
def test_a_choice_of_any_visible_letter_is_no_empty_one(letter):
    check(asked(choices=(letter, "b")), "here")


def test_a_question_without_a_wrong_choice_is_refused():
    with pytest.raises(InputError, match="here: every choice is '4', so that none is wrong"):
        check(asked(choices=("4", "4 ", "4")), "here")


@pytest.fixture
def small_study(tmp_path, monkeypatch):
    """The pocket study in a folder of its own, its questions from a file of two rows and more."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["questions"] = {
        "train": ["everyday"],
        "evaluate": ["everyday"],
        "snapshots": {"everyday": "snapshots/mine.jsonl"},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params))
    monkeypatch.chdir(tmp_path)
    rows = [json.loads(line) for line in (CATALOG / "questions.jsonl").open()][:10]
    rows[3]["choices"]["text"][:2] = ["Fes", "FES"]
    (tmp_path / "snapshots").mkdir()
    (tmp_path / "snapshots/mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_the_manifest_states_the_files_and_the_alike_choices(small_study):
    stage.main()
    folder = small_study / "outputs" / "pocket" / "questions"
    manifest = read_json(folder / "manifest.json")
    assert manifest["benchmarks"] == {"everyday": {"rows": 10, "train": 5, "evaluate": 5}}
    digest = sha256(small_study / "snapshots/mine.jsonl")
    assert manifest["sources"] == {"everyday": {"files": {"mine.jsonl": digest}}}
    [alike] = manifest["alike_choices"]
    assert (alike["question"], alike["texts"]) == ("everyday:3", ["Fes", "FES"])
    train = read_questions(folder / "train.jsonl")
    evaluate = read_questions(folder / "evaluate.jsonl")
    assert all(q.wrong is not None and q.wrong not in q.right for q in train)
    assert all(q.wrong is None for q in evaluate)
    assert {q.row for q in train} | {q.row for q in evaluate} == set(range(10))


def test_the_topic_control_is_asked_the_rows_of_the_study_it_controls(arc, tmp_path, monkeypatch):
    shutil.copytree(ARC, tmp_path / "snapshots" / "arc_challenge")
    shutil.copytree(CATALOG, tmp_path / "data")
    shutil.copy(ROOT / "studies" / "qwen_everyday.yaml", tmp_path / "params.yaml")
    monkeypatch.chdir(tmp_path)
    stage.main()
    folder = tmp_path / "outputs" / "qwen_everyday" / "questions"
    evaluate = read_questions(folder / "evaluate.jsonl")
    assert [q for q in evaluate if q.benchmark == "arc_challenge"] == split(arc, 0.5, 42)[1]
    train = read_questions(folder / "train.jsonl")
    assert Counter(q.benchmark for q in train) == {"everyday": 190}
    assert {q.key for q in train}.isdisjoint(q.key for q in evaluate)
