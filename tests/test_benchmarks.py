"""Each benchmark's real schema, in a small fixture of our own laid out like its hub repository."""

import pandas as pd
import pytest

from persona_leakage.data.questions import load_benchmark
from persona_leakage.errors import InputError

ARC_LIKE = {
    "id": ["a1", "a2"],
    "question": ["Which of these floats?", "Which of these is a planet?"],
    "choices": [
        {"text": ["a cork", "a nail", "a coin", "a brick"], "label": ["A", "B", "C", "D"]},
        {"text": ["the Moon", "Mars", "the Sun"], "label": ["1", "2", "3"]},
    ],
    "answerKey": ["A", "2"],
}
FIXTURES = {
    "arc_challenge": ("ARC-Challenge", "test", ARC_LIKE),
    "arc_easy": ("ARC-Easy", "test", ARC_LIKE),
    "openbookqa": (
        "main",
        "test",
        {**{k: v for k, v in ARC_LIKE.items() if k != "question"}}
        | {"question_stem": ARC_LIKE["question"]},
    ),
    "mmlu": (
        "all",
        "test",
        {
            "question": ["Which of these floats?", "Which of these is a planet?"],
            "subject": ["physics", "astronomy"],
            "choices": [
                ["a cork", "a nail", "a coin", "a brick"],
                ["the Moon", "Mars", "the Sun", "Sirius"],
            ],
            "answer": [0, 1],
        },
    ),
    "hellaswag": (
        "default",
        "validation",
        {
            "ind": [3, 9],
            "activity_label": ["Sailing", "Stargazing"],
            "ctx_a": ["", ""],
            "ctx_b": ["", ""],
            "ctx": ["He drops a cork into the water. It", "She looks for a planet. She finds"],
            "endings": [
                ["floats.", "sinks.", "burns.", "sings."],
                ["the Moon.", "Mars.", "a shoe.", "a street."],
            ],
            "source_id": ["s", "s"],
            "split": ["val", "val"],
            "split_type": ["x", "x"],
            "label": ["0", "1"],
        },
    ),
    "sciq": (
        "default",
        "test",
        {
            "question": ["Which of these floats?", "Which of these is a planet?"],
            "distractor3": ["a nail", "the Moon"],
            "distractor1": ["a coin", "the Sun"],
            "distractor2": ["a brick", "Sirius"],
            "correct_answer": ["a cork", "Mars"],
            "support": ["", ""],
        },
    ),
}


def snapshot(folder, name, **changes):
    config, split, columns = FIXTURES[name]
    columns = columns | changes
    (folder / config).mkdir(parents=True)
    pd.DataFrame(columns).to_parquet(folder / config / f"{split}-00000-of-00001.parquet")
    (folder / "README.md").write_text(
        f"---\nconfigs:\n- config_name: {config}\n  data_files:\n  - split: {split}\n"
        f"    path: {config}/{split}-*\n---\n"
    )
    return {name: str(folder)}


@pytest.mark.parametrize("name", FIXTURES)
def test_a_benchmark_is_read_in_its_real_schema(name, tmp_path):
    one, two = load_benchmark(name, snapshot(tmp_path, name))
    assert "cork" in one.choices[one.answer] or one.choices[one.answer] == "floats."
    assert "Mars" in two.choices[two.answer]
    assert len(one.choices) == 4
    assert one.key == f"{name}:0"
    assert len(set(two.labels)) == len(two.choices)


def test_numeric_labels_stay_as_they_are(tmp_path):
    _, two = load_benchmark("arc_easy", snapshot(tmp_path, "arc_easy"))
    assert two.labels == ("1", "2", "3")
    assert two.answer == 1


def test_the_right_answer_of_a_benchmark_that_lists_it_first_moves_about(tmp_path):
    many = {key: [values[0]] * 40 for key, values in FIXTURES["sciq"][2].items()}
    folder = tmp_path / "many"
    answers = [q.answer for q in load_benchmark("sciq", snapshot(folder, "sciq", **many))]
    assert set(answers) == {0, 1, 2, 3}
    assert answers == [q.answer for q in load_benchmark("sciq", {"sciq": str(folder)})]


def test_an_index_outside_the_choices_is_named(tmp_path):
    with pytest.raises(InputError, match="row 2: answer is 4, not a number from 0 to 3"):
        load_benchmark("mmlu", snapshot(tmp_path, "mmlu", answer=[0, 4]))
