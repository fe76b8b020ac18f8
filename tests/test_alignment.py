"""The first-order prediction is the derivative of what training and scoring really do."""

import pytest
import torch
from conftest import conversations

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.model.scoring import continuation_logprobs, items
from persona_leakage.study.parameters import BehaviourChoice, Lora, Train
from persona_leakage.training import alignment, trainer
from persona_leakage.training.rows import collator, tokenised

SEED = 3


@pytest.fixture(scope="module")
def recipe():
    return Train(
        learning_rate=1e-3,
        epochs=1,
        batch_size=5,
        warmup_fraction=0.0,
        weight_decay=0.0,
        max_grad_norm=1.0,
        max_length=512,
        lora=Lora(r=4, alpha=8, dropout=0.1),
    )


@pytest.fixture
def model(model_folder, recipe):
    return alignment.untrained(model_folder, recipe, SEED, "float32")


@pytest.fixture
def rows(personas, train_questions, tokenizer):
    villains = [e for e in conversations(personas, train_questions) if e.persona == "villain"]
    return tokenised(villains, tokenizer, 512, "template")


def step(model, gradient, rate):
    """Plain gradient descent on B, in place."""
    trained = [p for p in model.parameters() if p.requires_grad]
    with torch.no_grad():
        for parameter, part in zip(
            trained, gradient.split([p.numel() for p in trained]), strict=True
        ):
            parameter -= rate * part.view_as(parameter)


def ask(tokenizer, persona, questions, behaviour):
    asked = [behaviour.ask(question) for question in questions]
    return next(items(tokenizer, [persona.prompt], asked, "template"))


@pytest.mark.parametrize("scoring", ["label", "option_text"])
def test_one_small_step_changes_the_margin_as_predicted(
    model, rows, tokenizer, personas, train_questions, scoring
):
    behaviour = load_behaviour(BehaviourChoice(name="wrong_answers", scoring=scoring))
    questions = train_questions[:5]
    made = ask(tokenizer, personas["nurse"], questions, behaviour)
    down = alignment.loss_gradient(model, rows, 5)
    _, slope = alignment.margin_gradient(model, made, questions, behaviour)
    predicted = -(down @ slope).item()
    rate = 1e-2 / down.norm().item()
    step(model, down, rate)
    after = alignment.margin_gradient(model, made, questions, behaviour)[0]
    step(model, down, -2 * rate)
    other_way = alignment.margin_gradient(model, made, questions, behaviour)[0]
    assert (after - other_way) / (2 * rate) == pytest.approx(predicted, rel=1e-2)


def test_one_small_step_lowers_the_loss_as_predicted(model, rows):
    slope = alignment.loss_gradient(model, rows, 5)
    rate = 1e-2 / slope.norm().item()

    def loss():
        batch = collator(model, 0)(rows)
        logits, targets, _ = trainer.completion_logits(model, batch)
        return torch.nn.functional.cross_entropy(logits, targets).item()

    step(model, slope, rate)
    after = loss()
    step(model, slope, -2 * rate)
    assert (after - loss()) / (2 * rate) == pytest.approx(-(slope @ slope).item(), rel=1e-2)


def test_the_loss_gradient_does_not_depend_on_the_batches(model, rows):
    whole, parts = (alignment.loss_gradient(model, rows, size) for size in (len(rows), 3))
    torch.testing.assert_close(whole, parts)


def test_the_margin_is_that_of_the_scores(model, llama, tokenizer, personas, train_questions):
    for scoring in ("label", "option_text"):
        behaviour = load_behaviour(BehaviourChoice(name="wrong_answers", scoring=scoring))
        made = ask(tokenizer, personas["villain"], train_questions[:6], behaviour)
        got = alignment.margins(model, made, train_questions[:6], behaviour)
        for question, item, logprobs, margin in zip(
            train_questions, made, continuation_logprobs(llama, made), got, strict=False
        ):
            lengths = [len(ids) for ids in item.continuations]
            scores = torch.tensor(behaviour.observe(question, logprobs, lengths).scores)
            chance = scores.softmax(0)[list(question.right)].sum()
            assert margin.item() == pytest.approx(torch.logit(chance).item(), abs=1e-4)


def test_the_adapter_is_the_one_that_training_begins_with(
    model, model_folder, recipe, tokenizer, rows, tmp_path
):
    built = trainer.build_trainer(
        model_folder, tokenizer, trainer.Dataset.from_list(rows), recipe, SEED, "float32", tmp_path
    )
    begun = {n: p for n, p in built.model.named_parameters() if "lora_" in n}
    mine = {n: p for n, p in model.named_parameters() if "lora_" in n}
    assert len(mine) == len(begun) > 0
    for name, parameter in mine.items():
        torch.testing.assert_close(parameter, begun[f"base_model.model.{name}"])
