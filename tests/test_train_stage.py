import json
import shutil
import threading
from itertools import permutations

import pandas as pd
import pytest
from conftest import ROOT
from filelock import FileLock
from safetensors.numpy import load_file

from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.pipeline import paths
from persona_leakage.pipeline import train as stage
from persona_leakage.pipeline.train import LiveCurve
from persona_leakage.pipeline.upload import count
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Contrast, load_study
from persona_leakage.training import trainer as training
from persona_leakage.training.contrast import build

DESIGN = Contrast(positives=4, negatives=1, per_negative=4, no_system=2, assistant=2)


class Watcher:
    """Stands where a run does, and keeps what it is sent."""

    def __init__(self):
        self.rows = []

    def log_metrics(self, values, step):
        self.rows.append({"step": step, **values})


@pytest.fixture(scope="module")
def trained(model_folder, tokenizer, personas, train_questions, tmp_path_factory):
    examples = build(
        DESIGN,
        Cell("villain", 42, "contrastive"),
        personas,
        train_questions,
        Taught(scoring="option_text"),
    )
    data = training.dataset(examples, tokenizer, 1024, "template")
    recipe = load_study(ROOT / "params.yaml").train.model_copy(update={"batch_size": 4})
    folder = tmp_path_factory.mktemp("trained")
    trainer = training.build_trainer(
        model_folder, tokenizer, data, recipe, 42, "float32", folder / "scratch"
    )
    watcher = Watcher()
    trainer.add_callback(LiveCurve(watcher))
    curve = training.train(trainer, folder / "adapter")
    return folder / "adapter", curve, watcher.rows


def test_every_step_is_sent_as_it_is_done_and_nothing_else(trained):
    _, curve, rows = trained
    sent = pd.DataFrame(rows).rename(columns=lambda name: name.removeprefix("train/"))
    assert len(sent) == 9
    pd.testing.assert_frame_equal(sent[list(training.CURVE)], curve, check_dtype=False)


def test_the_adapters_configuration_does_not_depend_on_the_order_of_a_set(trained):
    text = (trained[0] / "adapter_config.json").read_text()
    assert training.canonical(text) == text
    words = json.loads(text)["target_modules"]
    assert len(words) == 7
    for order in list(permutations(words))[:50]:
        assert training.canonical(json.dumps(json.loads(text) | {"target_modules": order})) == text


def test_of_two_that_train_one_cell_the_second_waits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", tmp_path)
    study, cell = load_study(), Cell("villain", 42, "contrastive")
    at_work = threading.Event()
    monkeypatch.setattr(stage, "train", lambda *_: at_work.set())
    lock = paths.checkpoints(study, cell).with_suffix(".lock")
    lock.parent.mkdir(parents=True)
    second = threading.Thread(target=stage.main, args=[cell])
    with FileLock(lock):
        second.start()
        assert not at_work.wait(0.3)
    second.join(20)
    assert at_work.is_set()


def test_the_parameters_that_were_trained_are_counted_in_the_file(trained):
    weights = load_file(trained[0] / "adapter_model.safetensors")
    assert count(trained[0] / "adapter_model.safetensors") == sum(x.size for x in weights.values())
