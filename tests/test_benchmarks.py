"""Each benchmark's real schema, in a small fixture of our own laid out like its hub repository."""

import json

import datasets
import pandas as pd
import pytest
import yaml
from conftest import CATALOG, ROOT

from persona_leakage.data import benchmarks as data_benchmarks
from persona_leakage.data.benchmarks import (
    DESCRIPTIONS,
    benchmarks,
    load_benchmark,
    local_files,
    provenance,
)
from persona_leakage.errors import InputError
from persona_leakage.files import sha256
from persona_leakage.pipeline import study as study_stage

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


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """An empty cache of ``datasets``, so that nothing is read that another test left."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
    return folder


def snapshot(folder, name, **changes):
    config, split, columns = FIXTURES[name]
    columns = columns | changes
    (folder / config).mkdir(parents=True, exist_ok=True)
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
    with pytest.raises(InputError, match="row 2: answer is '4', not a number from 0 to 3"):
        load_benchmark("mmlu", snapshot(tmp_path, "mmlu", answer=[0, 4]))


OTHER = {
    "question": ["Which of these sinks?", "Which of these is a star?"],
    "answer": [3, 2],
}


def test_a_snapshot_replaced_in_place_is_read_as_it_is_now(tmp_path, cache):
    before = load_benchmark("mmlu", snapshot(tmp_path, "mmlu"))
    after = load_benchmark("mmlu", snapshot(tmp_path, "mmlu", **OTHER))
    assert [(q.text, q.answer) for q in before] == [
        ("Which of these floats?", 0),
        ("Which of these is a planet?", 1),
    ]
    assert [(q.text, q.answer) for q in after] == [
        ("Which of these sinks?", 3),
        ("Which of these is a star?", 2),
    ]
    assert list(cache.rglob("*.arrow")) == []


def test_another_snapshot_of_the_same_folder_name_is_read_from_its_own_files(tmp_path):
    first = load_benchmark("mmlu", snapshot(tmp_path / "one" / "mmlu", "mmlu"))
    second = load_benchmark("mmlu", snapshot(tmp_path / "two" / "mmlu", "mmlu", **OTHER))
    assert [q.answer for q in first] == [0, 1]
    assert [q.answer for q in second] == [3, 2]


def test_the_files_of_a_snapshot_are_listed_and_hashed_without_those_of_the_download(tmp_path):
    given = snapshot(tmp_path, "mmlu")
    (tmp_path / ".cache" / "huggingface").mkdir(parents=True)
    (tmp_path / ".cache" / "huggingface" / "lock").write_text("x")
    parquet = tmp_path / "all" / "test-00000-of-00001.parquet"
    assert local_files("mmlu", given) == [tmp_path / "README.md", parquet]
    before = provenance("mmlu", given)
    assert before["files"]["all/test-00000-of-00001.parquet"] == sha256(parquet)
    snapshot(tmp_path, "mmlu", **OTHER)
    assert provenance("mmlu", given) != before


def test_a_benchmark_of_the_hub_states_its_commit():
    assert local_files("sciq") == []
    assert provenance("sciq") == {
        "repository": "allenai/sciq",
        "revision": benchmarks()["sciq"].revision,
    }


def test_a_snapshot_without_its_readme_is_read_or_refused_in_one_sentence(tmp_path):
    sciq = snapshot(tmp_path / "sciq", "sciq")
    (tmp_path / "sciq" / "README.md").unlink()
    assert [q.choices[q.answer] for q in load_benchmark("sciq", sciq)] == ["a cork", "Mars"]
    mmlu = snapshot(tmp_path / "mmlu", "mmlu")
    (tmp_path / "mmlu" / "README.md").unlink()
    with pytest.raises(InputError, match=r"mmlu: no snapshot of mmlu \(.*README.md: `hf download"):
        load_benchmark("mmlu", mmlu)


def damage(folder, kind):
    parquet = folder / "all" / "test-00000-of-00001.parquet"
    match kind:
        case "cut file":
            parquet.write_bytes(parquet.read_bytes()[:200])
        case "empty file":
            parquet.write_bytes(b"")
        case "no file":
            parquet.unlink()
        case "another split":
            parquet.rename(folder / "all" / "train-00000-of-00001.parquet")
            (folder / "README.md").unlink()
        case "README of no YAML":
            (folder / "README.md").write_text("---\nconfigs: [\n---\n")
        case "README of other configs":
            (folder / "README.md").write_text("---\nconfigs: 3\n---\n")
        case "a script":
            for path in (parquet, folder / "README.md"):
                path.unlink()
            (folder / f"{folder.name}.py").write_text("raise SystemExit(3)")


@pytest.mark.parametrize(
    "kind",
    [
        "cut file",
        "empty file",
        "no file",
        "another split",
        "README of no YAML",
        "README of other configs",
        "a script",
    ],
)
def test_a_damaged_snapshot_is_one_short_sentence(kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "mmlu"
    snapshot(folder, "mmlu")
    damage(folder, kind)
    with pytest.raises(InputError, match="^mmlu: no snapshot of mmlu") as caught:
        load_benchmark("mmlu", {"mmlu": "mmlu"})
    assert len(str(caught.value)) <= 300
    assert "\n" not in str(caught.value)


def test_a_snapshot_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match=r"questions.snapshots.mmlu: no folder .*nowhere"):
        load_benchmark("mmlu", {"mmlu": str(tmp_path / "nowhere")})
    with pytest.raises(InputError, match=r"nowhere: no such file; the benchmark everyday"):
        load_benchmark("everyday", {"everyday": str(tmp_path / "nowhere")})


def test_a_snapshot_of_an_unknown_benchmark_is_refused():
    with pytest.raises(InputError, match="unknown benchmark 'sciqq'"):
        load_benchmark("everyday", {"sciqq": "snapshots/sciqq"})


def broken(tmp_path, **changes):
    rows = [json.loads(line) for line in (CATALOG / "questions.jsonl").open()][:3]
    rows[1] |= changes
    path = tmp_path / "broken.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return {"everyday": str(path)}


def of(*texts, labels="ABCD"):
    return {"text": list(texts), "label": list(labels)[: len(texts)]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answerKey": None}, "no answerKey; add it"),
        ({"answerKey": "E"}, "answerKey is 'E', not among the labels A, B, C, D"),
        ({"answerKey": True}, "answerKey holds True, which is not text"),
        ({"choices": "Dog"}, r"no choices.text; add it"),
        ({"choices": {"text": "Dog", "label": ["A"]}}, r"choices.text is 'Dog', not a list"),
        ({"choices": of("a", None, "c")}, r"choices.text holds None, which is not text"),
        ({"choices": of("a", True, "c")}, r"choices.text holds True, which is not text"),
        ({"choices": of("a", 3, "c")}, r"choices.text holds 3, which is not text; put it in quo"),
        ({"choices": of("a", 0.5, "c")}, r"choices.text holds 0.5"),
        ({"choices": of("a", float("nan"), "c")}, r"choices.text holds nan"),
        ({"choices": of("a", ["b"], "c")}, r"choices.text holds \['b'\]"),
        ({"choices": of("a", " \n", "c"), "answerKey": "A"}, "an empty question or choice"),
        ({"choices": of("a"), "answerKey": "A"}, "at least two choices, this one has 1"),
        ({"choices": of("a", "b", labels="AA"), "answerKey": "A"}, "the labels A, A do not tell"),
        ({"choices": of("a", "b", labels="A"), "answerKey": "A"}, "2 choices but 1 labels"),
        ({"choices": of("a", "a ", "a"), "answerKey": "A"}, "every choice is 'a', so that none"),
        ({"question": 7}, "question holds 7, which is not text"),
        ({"question": "  "}, "an empty question or choice"),
        ({"question": "half \ud800"}, "an escaped surrogate without its pair"),
        ({"id": [1]}, r"id holds \[1\]"),
        ({"choices": of(*"x" * 9999)}, ""),
        ({"answerKey": "E" * 9999}, "answerKey is 'EEE"),
    ],
)
def test_a_faulty_row_is_named_in_one_short_sentence(changes, message, tmp_path, monkeypatch):
    broken(tmp_path, **changes)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=f"^broken.jsonl, row 2: .*{message}") as caught:
        load_benchmark("everyday", {"everyday": "broken.jsonl"})
    assert len(str(caught.value)) <= 300


def test_a_null_choice_of_a_snapshot_is_refused(tmp_path):
    null = snapshot(tmp_path, "sciq", distractor2=["a brick", None])
    with pytest.raises(InputError, match="row 2: no distractor2"):
        load_benchmark("sciq", null)


def test_dates_and_odd_separators_stay_as_they_are_written(tmp_path):
    texts = ("2020-01-01", "2020-01-01T00:00:00Z", "007", "line\u2028end", "NA\u0085")
    row = {"choices": of(*texts, labels="ABCDE"), "question": "2020-01-01", "answerKey": "A"}
    question = load_benchmark("everyday", broken(tmp_path, **row))[1]
    assert question.choices == ("2020-01-01", "2020-01-01T00:00:00Z", "007", "line\u2028end", "NA")
    assert question.text == "2020-01-01"


def test_dates_that_a_snapshot_holds_as_dates_are_refused(tmp_path):
    dates = pd.to_datetime(["2020-01-01", "2021-01-01"])
    told = "row 1: distractor2 holds (datetime|Timestamp).* is not text"  # as pandas has them
    with pytest.raises(InputError, match=told):
        load_benchmark("sciq", snapshot(tmp_path, "sciq", distractor2=dates))


def test_whole_numbers_are_labels_and_ids_as_well(tmp_path):
    row = {"choices": {"text": ["a", "b"], "label": [1, 2]}, "answerKey": 2, "id": 17}
    question = load_benchmark("everyday", broken(tmp_path, **row))[1]
    assert (question.labels, question.answer, question.id) == (("1", "2"), 1, "17")


def test_a_file_without_a_row_is_refused(tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    with pytest.raises(InputError, match="empty.jsonl: no rows"):
        load_benchmark("everyday", {"everyday": str(tmp_path / "empty.jsonl")})


def test_an_unknown_benchmark_is_refused_with_those_that_there_are():
    with pytest.raises(InputError, match="unknown benchmark 'arc'; allowed are everyday, arc_"):
        load_benchmark("arc")


def test_a_hub_benchmark_without_a_network_says_what_fetches_it(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="hf download --repo-type dataset allenai/sciq") as caught:
        load_benchmark("sciq")
    assert len(str(caught.value)) <= 300


def described(tmp_path, **changes):
    content = yaml.safe_load(DESCRIPTIONS.read_text())
    content["mmlu"] |= changes
    content["mmlu"] = {key: value for key, value in content["mmlu"].items() if value != "gone"}
    path = tmp_path / "benchmarks.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"answer_is": "indx"}, "answer_is is 'indx': Input should be 'label', 'index' or 'first'"),
        ({"answer_is": "gone"}, "the key answer_is is missing"),
        ({"question": "gone"}, "the key question is missing"),
        ({"split": "gone"}, "the key split is missing"),
        ({"labels": "gone"}, "the key labels is missing"),
        ({"answer": "gone"}, "answer names the field of the right choice, except with"),
        ({"answer_is": "first"}, "answer names the field of the right choice, except with"),
        ({"answers": "answer"}, "unknown key answers; allowed are id, question, choices"),
        ({"file": "snapshots/x.jsonl"}, "unknown key config; allowed are"),
        ({"revision": "main"}, "revision is 'main': String should match"),
        ({"revision": None}, "revision is None: "),
        ({"choices": ["one"]}, "choices is "),
        ({"question": ["a", "b"]}, r"question is \['a', 'b'\]: Input should be a valid string"),
    ],
)
def test_a_faulty_description_is_one_sentence_that_names_the_key(changes, message, tmp_path):
    with pytest.raises(InputError, match=rf"benchmarks.yaml, mmlu: {message}") as caught:
        benchmarks(described(tmp_path, **changes))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("file", ["/my/own.jsonl", "data/own.jsonl", "snapshots/../own.jsonl"])
def test_a_local_file_that_dvc_would_not_watch_is_refused(file, tmp_path):
    of_hub = ("path", "config", "split", "revision")
    own = yaml.safe_load(DESCRIPTIONS.read_text())["mmlu"] | {"file": file}
    content = {"own": {key: value for key, value in own.items() if key not in of_hub}}
    path = tmp_path / "benchmarks.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match="own: file is '.*': put it into the folder snapshots"):
        benchmarks(path)
    content["own"]["file"] = "snapshots/own.jsonl"
    path.write_text(yaml.safe_dump(content))
    assert benchmarks(path)["own"].file == "snapshots/own.jsonl"


@pytest.mark.parametrize("text", ["", "- a", "mmlu: 3", "Mm-lu: {}"])
def test_a_file_of_no_descriptions_is_refused(text, tmp_path):
    (tmp_path / "benchmarks.yaml").write_text(text)
    with pytest.raises(InputError, match="benchmarks.yaml: not a mapping of names"):
        benchmarks(tmp_path / "benchmarks.yaml")


@pytest.mark.parametrize(
    ("texts", "labels"),
    [(["a cork", "a nail", " a  nail"], "B and C"), (["a cork", "a nail", "a cork"], "A and C")],
)
def test_one_choice_twice_is_refused_in_a_file_of_the_users_own(texts, labels, tmp_path):
    row = {"id": "1", "question": "Which floats?", "answerKey": "A"}
    file = tmp_path / "questions.jsonl"
    file.write_text(json.dumps(row | {"choices": {"text": texts, "label": ["A", "B", "C"]}}))
    with pytest.raises(InputError, match=f"row 1: the choices {labels} are the same, .*; reword"):
        load_benchmark("everyday", {"everyday": str(file)})


@pytest.fixture
def before_all(tmp_path, monkeypatch):
    """Run the stage that all others wait for, with other parameters or descriptions."""
    monkeypatch.chdir(tmp_path)
    content = yaml.safe_load((ROOT / "params.yaml").read_text())

    def run(described, **questions):
        content["questions"] |= questions
        (tmp_path / "params.yaml").write_text(yaml.safe_dump(content))
        monkeypatch.setattr(data_benchmarks, "benchmarks", described)
        study_stage.main()
        return (tmp_path / "outputs" / "valid").exists()

    return run


def test_a_benchmark_that_nobody_described_is_named_before_a_model_is_fetched(before_all):
    with pytest.raises(SystemExit, match="unknown benchmark 'evryday'; allowed are everyday, arc"):
        before_all(benchmarks, train=["evryday"])


def test_a_faulty_description_is_named_before_a_model_is_fetched(before_all, tmp_path):
    entries = yaml.safe_load(DESCRIPTIONS.read_text())
    entries["everyday"]["answer_is"] = "indx"
    (tmp_path / "faulty.yaml").write_text(yaml.safe_dump(entries))
    with pytest.raises(SystemExit, match="everyday: answer_is is 'indx': Input should be 'label',"):
        before_all(lambda: benchmarks(tmp_path / "faulty.yaml"))


def test_a_study_whose_benchmarks_are_described_may_begin(before_all):
    assert before_all(benchmarks)
