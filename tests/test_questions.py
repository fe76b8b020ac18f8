import json
from collections import Counter

import pytest
from conftest import CATALOG

from persona_leakage.data.questions import (
    at_most,
    from_records,
    load_benchmark,
    near_duplicates,
    split,
    with_wrong_answer,
)
from persona_leakage.errors import InputError

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


def test_equal_texts_across_the_split_are_listed_as_near_duplicates(arc):
    repeated = [q for q in arc if sum(q.text == other.text for other in arc) == 2]
    one, two = repeated[0], next(q for q in repeated[1:] if q.text == repeated[0].text)
    pairs = near_duplicates([one], [two, arc[5]])
    assert pairs == [{"train": one.key, "evaluate": two.key, "overlap": 1.0, "exact": True}]


def test_wrong_answers_are_wrong_and_spread_over_the_incorrect_choices(arc):
    drawn = [with_wrong_answer(question, 42) for question in arc]
    assert all(question.wrong != question.answer for question in drawn)
    ranks = Counter(
        [i for i in range(4) if i != q.answer].index(q.wrong) for q in drawn if len(q.choices) == 4
    )
    # 1,165 draws of three: four standard deviations of a binomial are 64
    assert all(abs(ranks[rank] - 1165 / 3) < 64 for rank in range(3))


def test_at_most_keeps_the_order_and_the_number(everyday):
    kept = at_most(everyday, 20, 42)
    assert len(kept) == 20
    assert [q.row for q in kept] == sorted(q.row for q in kept)
    assert at_most(everyday, None, 42) == everyday


def test_questions_survive_writing_and_reading(everyday, tmp_path):
    path = tmp_path / "q.jsonl"
    path.write_text("".join(json.dumps(q.record()) + "\n" for q in everyday))
    assert from_records(path) == everyday


def broken(tmp_path, **changes):
    rows = [json.loads(line) for line in (CATALOG / "questions.jsonl").read_text().splitlines()[:3]]
    rows[1] |= changes
    rows[1] = {key: value for key, value in rows[1].items() if value is not None}
    path = tmp_path / "broken.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_row_without_an_answer_key_is_named(tmp_path):
    path = broken(tmp_path, answerKey=None)
    with pytest.raises(InputError, match=r"broken.jsonl, row 2: no answerKey"):
        load_benchmark("everyday", {"everyday": str(path)})


def test_a_label_that_is_not_among_the_choices_is_named(tmp_path):
    path = broken(tmp_path, answerKey="E")
    with pytest.raises(InputError, match=r"broken.jsonl, row 2: answerKey is 'E', not among"):
        load_benchmark("everyday", {"everyday": str(path)})


def test_a_line_that_is_no_json_is_named(tmp_path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"id": 1}\n{"id": \n')
    with pytest.raises(InputError, match=r"broken.jsonl, row 2: not JSON"):
        load_benchmark("everyday", {"everyday": str(path)})


def test_an_unknown_benchmark_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="unknown benchmark 'arc'; allowed are everyday, arc_"):
        load_benchmark("arc")


def test_a_hub_benchmark_without_a_network_says_what_fetches_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="hf download --repo-type dataset allenai/sciq"):
        load_benchmark("sciq")
