import numpy as np
import pytest

from persona_leakage.errors import InputError
from persona_leakage.evaluation import evaluate
from persona_leakage.scoring import choice_scores, items


def test_the_table_has_a_row_for_every_persona_and_question(
    study, personas, everyday, tokenizer, llama
):
    asked = everyday[:6]
    chosen = [personas["spy"], personas["no_system"]]
    table = evaluate(llama, tokenizer, chosen, asked, study)
    assert len(table) == 12
    assert table["question"].tolist() == [question.key for question in asked] * 2
    assert (table["correct"] == (table["answer"] == table["chosen"])).all()
    [made] = items(tokenizer, [personas["spy"].prompt], asked, study.scoring, "template")
    expected = choice_scores(llama, made, study.scoring)
    assert table["tokens"][0] == len(made[0].prompt) + sum(map(len, made[0].continuations))
    np.testing.assert_allclose(
        np.stack(table["scores"][:6].tolist()), np.stack(expected), atol=1e-5
    )


def test_an_empty_eval_set_is_refused(study, personas, tokenizer, llama):
    with pytest.raises(InputError, match="the eval set is empty; lower questions.train_fraction"):
        evaluate(llama, tokenizer, [personas["spy"]], [], study)
