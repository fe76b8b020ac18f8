import os
import shutil
import subprocess
import sys
from functools import partial

import boto3
import numpy as np
import pandas as pd
import pytest
import torch
from moto.server import ThreadedMotoServer

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.behaviours.evaluation import score_table
from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.model.loading import load_model
from persona_leakage.model.processes import scorer
from persona_leakage.model.scoring import continuation_logprobs, items
from persona_leakage.pipeline import scored, scores
from persona_leakage.pipeline.score_files import read_scores
from persona_leakage.pipeline.scores import score_personas
from persona_leakage.pipeline.weights import checked_weights, note_weights, weights_of

ACCURACY = Taught.outcome
CPU = torch.device("cpu")
WEIGHTS = {"model.safetensors": "0"}


@pytest.fixture
def everyone(personas):
    return [personas[name] for name in ("spy", "no_system")]


@pytest.fixture
def score(study, tokenizer, llama, everyday, tmp_path, monkeypatch):
    """Score personas into a folder; the loads of the model are counted."""
    monkeypatch.chdir(tmp_path)  # outputs/scored is relative to the project
    loads, folder = [], tmp_path / "scores"

    def load():
        loads.append(1)
        return llama

    def run(personas, questions=everyday[:6], changed=study, weights=WEIGHTS):
        score_personas(folder, personas, questions, changed, weights, tokenizer, load, None)
        return {file.stem: file.stat().st_mtime_ns for file in folder.glob("*.parquet")}

    run.loads = loads
    return run


def test_the_table_has_a_row_for_every_persona_and_question(
    study, everyone, everyday, tokenizer, llama, score, tmp_path
):
    asked = everyday[:6]
    score(everyone)
    table = read_scores(tmp_path / "scores", ["spy", "no_system"], ACCURACY)
    assert table["persona"].tolist() == ["spy"] * 6 + ["no_system"] * 6
    assert table["question"].tolist() == [question.key for question in asked] * 2
    assert (table["outcome"] == (table["answer"] == table["chosen"])).all()
    behaviour = load_behaviour(study.behaviour)
    [made] = items(tokenizer, [everyone[0].prompt], [behaviour.ask(q) for q in asked], "template")
    lengths = [[len(ids) for ids in item.continuations] for item in made]
    sums = continuation_logprobs(llama, made)
    assert table["tokens"][0] == len(made[0].prompt) + sum(lengths[0])
    for row, total, each, question in zip(table["scores"], sums, lengths, asked, strict=False):
        np.testing.assert_allclose(row, total / each, atol=1e-5)
        assert len(row) == len(question.choices)
    chosen = [int(np.argmax(row)) for row in table["scores"]]
    assert table["chosen"].tolist() == chosen
    assert len(set(chosen)) > 1


def test_what_is_scored_already_is_not_scored_again(everyone, score):
    first = score(everyone)
    assert score(everyone) == first
    assert len(score.loads) == 1


def test_a_persona_that_is_added_is_the_only_one_scored(everyone, personas, score):
    first = score(everyone)
    second = score([*everyone, personas["baker"]])
    assert set(second) == {"spy", "no_system", "baker"}
    assert {name: second[name] for name in first} == first


def test_a_persona_that_is_taken_out_leaves_no_file(everyone, score):
    score(everyone)
    assert set(score(everyone[:1])) == {"spy"}


@pytest.mark.parametrize("what", ["prompt", "questions", "behaviour", "weights"])
def test_a_score_is_computed_again_when_what_it_comes_from_changes(
    what, everyone, everyday, study, score
):
    first = score(everyone)
    spy, nobody = everyone
    match what:
        case "prompt":
            changed = Persona(spy.name, spy.category, spy.relation, "You are a secret agent.")
            second = score([changed, nobody])
            assert second["no_system"] == first["no_system"]
        case "questions":
            second = score(everyone, everyday[1:7])
        case "behaviour":
            labels = study.behaviour.model_copy(update={"scoring": "label"})
            second = score(everyone, changed=study.model_copy(update={"behaviour": labels}))
        case "weights":
            second = score(everyone, weights={"model.safetensors": "1"})
    assert second["spy"] != first["spy"]


def test_going_back_to_what_was_scored_before_loads_no_model(everyone, everyday, score):
    first = score(everyone)
    assert score(everyone, weights={"model.safetensors": "1"}) != first
    assert len(score.loads) == 2
    back = score(everyone)
    assert len(score.loads) == 2
    assert back == first  # the very files


def test_scores_that_were_brought_here_are_kept_for_the_way_back(everyone, score, tmp_path):
    """As after `dvc pull`: the files are in the folder, nothing is under their hashes."""
    first = score(everyone)
    shutil.rmtree(tmp_path / "outputs")
    score(everyone)
    score(everyone, weights={"model.safetensors": "1"})
    assert score(everyone) == first
    assert len(score.loads) == 2


def test_a_damaged_file_is_put_right(everyone, score, tmp_path):
    first = score(everyone)
    (tmp_path / "scores" / "spy.parquet").write_bytes(b"PAR1")
    assert score(everyone) == first
    assert len(read_scores(tmp_path / "scores", ["spy"], ACCURACY)) == 6
    assert len(score.loads) == 1


def test_a_damaged_file_is_not_taken_back(everyone, score, tmp_path):
    score(everyone)
    for file in (tmp_path / "outputs" / "scored").rglob("*.parquet"):
        file.write_bytes(b"PAR1")
    (tmp_path / "scores" / "spy.parquet").unlink()
    score(everyone)
    assert len(score.loads) == 2
    assert len(read_scores(tmp_path / "scores", ["spy"], ACCURACY)) == 6


@pytest.fixture(scope="module")
def s3():
    """A server that speaks S3, with a bucket."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    keys = {"aws_access_key_id": "ada", "aws_secret_access_key": "secret"}
    client = boto3.client("s3", "us-east-1", endpoint_url=f"http://{host}:{port}", **keys)
    client.create_bucket(Bucket="team")
    yield client
    server.stop()


@pytest.fixture
def bucket(s3, tmp_path, monkeypatch):
    """A folder of its own in the bucket, named by the environment; its objects by their keys."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.meta.endpoint_url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "ada")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("PERSONA_LEAKAGE_SCORES", f"s3://team/{tmp_path.name}/scores")

    def objects():
        found = s3.list_objects_v2(Bucket="team", Prefix=f"{tmp_path.name}/scores/")
        return {each["Key"] for each in found.get("Contents", [])}

    return objects


def forget(tmp_path):
    """What another machine has: nothing."""
    shutil.rmtree(tmp_path / "scores")
    shutil.rmtree(tmp_path / "outputs")


def test_what_one_machine_scored_another_takes_from_the_bucket(everyone, score, bucket, tmp_path):
    score(everyone)
    files = {name: (tmp_path / "scores" / name).read_bytes() for name in ("spy.parquet",)}
    assert len(bucket()) == 2
    forget(tmp_path)
    score(everyone)
    assert len(score.loads) == 1
    assert {name: (tmp_path / "scores" / name).read_bytes() for name in files} == files
    assert len(read_scores(tmp_path / "scores", ["spy", "no_system"], ACCURACY)) == 12


def test_what_was_scored_before_is_sent_to_a_bucket_that_is_named_later(
    everyone, score, bucket, monkeypatch
):
    place = os.environ["PERSONA_LEAKAGE_SCORES"]
    monkeypatch.delenv("PERSONA_LEAKAGE_SCORES")
    score(everyone)
    assert bucket() == set()
    monkeypatch.setenv("PERSONA_LEAKAGE_SCORES", place)
    score(everyone)
    assert len(bucket()) == 2
    assert len(score.loads) == 1


def test_what_is_damaged_in_the_bucket_is_scored_again_and_replaced(
    everyone, score, bucket, s3, tmp_path
):
    score(everyone[:1])
    [key] = bucket()
    s3.put_object(Bucket="team", Key=key, Body=b"PAR1")
    forget(tmp_path)
    score(everyone[:1])
    assert len(score.loads) == 2
    assert (
        s3.get_object(Bucket="team", Key=key)["Body"].read()
        == (tmp_path / "scores" / "spy.parquet").read_bytes()
    )


def test_a_bucket_that_goes_away_costs_a_sentence_and_no_score(
    everyone, score, bucket, monkeypatch, capsys, tmp_path
):
    def refuse(*_):
        raise OSError("AWS Error SLOW_DOWN")

    class Gone:
        def __init__(self, files):
            self.open_output_stream, self.get_file_info = refuse, files.get_file_info

    made = scored.Bucket.__init__

    def then_gone(self, place):
        made(self, place)
        self._files = Gone(self._files)

    monkeypatch.setattr(scored.Bucket, "__init__", then_gone)
    score(everyone)
    told = capsys.readouterr().err
    assert told.count("warning: PERSONA_LEAKAGE_SCORES: AWS Error SLOW_DOWN; scores are kept") == 1
    assert len(read_scores(tmp_path / "scores", ["spy", "no_system"], ACCURACY)) == 12


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("s3://nobody/scores", "the store has no bucket nobody"),
        ("team/scores", "write s3://bucket/folder"),
        ("s3://", "write s3://bucket/folder"),
        ("s3://team/../other", "write s3://bucket/folder"),
        ("s3://key:secret@team/scores", "write s3://bucket/folder"),
    ],
)
def test_a_place_that_is_none_is_refused_before_the_model_is_loaded(
    everyone, score, bucket, monkeypatch, place, told
):
    monkeypatch.setenv("PERSONA_LEAKAGE_SCORES", place)
    with pytest.raises(InputError, match=told) as refused:
        score(everyone)
    assert "secret" not in str(refused.value)
    assert score.loads == []


def test_a_store_that_does_not_answer_is_one_sentence(everyone, score, bucket, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(InputError, match="PERSONA_LEAKAGE_SCORES: the store does not answer"):
        score(everyone)


def test_a_persona_without_scores_is_named(tmp_path):
    with pytest.raises(InputError, match=r"spy.parquet: no such file; `dvc repro` scores spy"):
        read_scores(tmp_path, ["spy"], ACCURACY)


def test_several_devices_make_the_table_that_one_makes(
    study, personas, everyday, tokenizer, model_folder, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    everyone = [personas[name] for name in ("spy", "farmer", "no_system", "villain", "baker")]
    names = [persona.name for persona in everyone]
    tables = []
    for number, devices in enumerate(([CPU], [CPU, CPU])):
        monkeypatch.setattr(scores, "devices", lambda devices=devices: devices)
        monkeypatch.setattr(scored, "SCORED", tmp_path / f"scored{number}")
        folder = tmp_path / str(number)
        load = partial(load_model, model_folder, "float32")
        score_personas(folder, everyone, everyday[:6], study, WEIGHTS, tokenizer, load, None)
        tables.append(read_scores(folder, names, ACCURACY))
    one, two = (table.assign(scores=table["scores"].map(tuple)) for table in tables)
    pd.testing.assert_frame_equal(one, two, check_exact=False, atol=1e-5)


def test_what_fails_in_a_device_s_process_is_raised_here(tmp_path):
    with (
        pytest.raises(InputError, match="nowhere cannot be loaded"),
        scorer(partial(load_model, tmp_path / "nowhere", "float32"), [CPU, CPU]),
    ):
        pass


def test_a_worker_beside_this_one_keeps_what_it_is_writing(everyone, score, tmp_path):
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    (tmp_path / "scores").mkdir()
    theirs = tmp_path / "scores" / f".spy.parquet.{os.getpid()}-900.partial"
    left = tmp_path / "scores" / f".nobody.parquet.{gone.pid}-1.partial"
    for file in (theirs, left):
        file.write_bytes(b"half")
    score(everyone)
    assert theirs.exists()
    assert not left.exists()


def test_an_empty_eval_set_is_refused(everyone, score):
    with pytest.raises(InputError, match="the eval set is empty; lower questions.train_fraction"):
        score(everyone, questions=[])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_is_neither_written_nor_read(
    value, everyone, everyday, score, tmp_path
):
    score(everyone)
    file = tmp_path / "scores" / "spy.parquet"
    whole = pd.read_parquet(file)
    changed = whole.assign(scores=[np.full_like(row, value) for row in whole["scores"]])
    changed.to_parquet(file)
    with pytest.raises(InputError, match="spy.parquet: a score is not finite: the training of"):
        read_scores(tmp_path / "scores", ["spy", "no_system"], ACCURACY)
    with pytest.raises(InputError, match=r"scores: spy, question everyday:\d+: a log-prob.* is"):
        score_table("spy", everyday[:1], [], [np.float32([-1, value])], Taught(scoring="label"))


def test_scores_that_are_no_numbers_are_damage(everyone, score, tmp_path):
    score(everyone)
    file = tmp_path / "scores" / "spy.parquet"
    pd.read_parquet(file).assign(scores="none").to_parquet(file)
    with pytest.raises(InputError, match=r"spy.parquet: damaged \(scores that are none\); "):
        read_scores(tmp_path / "scores", ["spy"], ACCURACY)


def test_weights_that_changed_since_they_were_noted_are_refused(model_folder, tmp_path):
    folder = shutil.copytree(model_folder, tmp_path / "model")
    note_weights(folder)
    assert checked_weights(folder) == weights_of(folder)
    content = bytearray((folder / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (folder / "model.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"model.safetensors: damaged, .*`dvc repro -f base`"):
        checked_weights(folder)
    assert weights_of(folder)
