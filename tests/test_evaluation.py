from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from persona_leakage.behaviours.evaluation import evaluate
from persona_leakage.errors import InputError
from persona_leakage.model.loading import load_model
from persona_leakage.model.processes import scorer
from persona_leakage.model.scoring import choice_scores, items

CPU = torch.device("cpu")


def test_the_table_has_a_row_for_every_persona_and_question(
    study, personas, everyday, tokenizer, llama
):
    asked = everyday[:6]
    chosen = [personas["spy"], personas["no_system"]]
    with scorer(lambda: llama, [CPU]) as score:
        table = evaluate(score, tokenizer, chosen, asked, study)
    assert len(table) == 12
    assert table["question"].tolist() == [question.key for question in asked] * 2
    assert (table["correct"] == (table["answer"] == table["chosen"])).all()
    [made] = items(tokenizer, [personas["spy"].prompt], asked, study.scoring, "template")
    expected = choice_scores(llama, made, study.scoring)
    assert table["tokens"][0] == len(made[0].prompt) + sum(map(len, made[0].continuations))
    np.testing.assert_allclose(
        np.stack(table["scores"][:6].tolist()), np.stack(expected), atol=1e-5
    )


def test_several_devices_make_the_table_that_one_makes(
    study, personas, everyday, tokenizer, model_folder
):
    everyone = [personas[name] for name in ("spy", "farmer", "no_system", "villain", "baker")]
    tables = []
    for devices in ([CPU], [CPU, CPU]):
        with scorer(partial(load_model, model_folder, "float32"), devices) as score:
            tables.append(evaluate(score, tokenizer, everyone, everyday[:6], study))
    one, two = (table.assign(scores=table["scores"].map(tuple)) for table in tables)
    pd.testing.assert_frame_equal(one, two, check_exact=False, atol=1e-5)


def test_what_fails_in_a_device_s_process_is_raised_here(tmp_path):
    with (
        pytest.raises(OSError, match="nowhere"),
        scorer(partial(load_model, tmp_path / "nowhere", "float32"), [CPU, CPU]),
    ):
        pass


def test_an_empty_eval_set_is_refused(study, personas, tokenizer, llama):
    with (
        scorer(lambda: llama, [CPU]) as score,
        pytest.raises(InputError, match="the eval set is empty; lower questions.train_fraction"),
    ):
        evaluate(score, tokenizer, [personas["spy"]], [], study)
