import copy
import io
import json
import math
import sys
from dataclasses import replace

import pandas as pd
import pytest
import torch
from conftest import ROOT, SHAPE, conversations
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, TrainerCallback

from persona_leakage.errors import InputError
from persona_leakage.files import read_json
from persona_leakage.model.loading import load_adapted
from persona_leakage.model.shared_prefix import IGNORED, PADDING, completion_logits, pack
from persona_leakage.study.parameters import load_study
from persona_leakage.training import adapter
from persona_leakage.training import trainer as training
from persona_leakage.training.rows import cost, laid_out


@pytest.fixture(scope="module")
def recipe():
    return load_study(ROOT / "studies" / "paper.yaml").train


@pytest.fixture(scope="module")
def examples(personas, train_questions):
    return conversations(personas, train_questions)


@pytest.fixture(scope="module")
def data(examples, tokenizer):
    return training.dataset(examples, tokenizer, 1024, "template")


def make_trainer(model_folder, tokenizer, data, recipe, tmp_path, seed=42):
    return training.build_trainer(model_folder, tokenizer, data, recipe, seed, "float32", tmp_path)


def test_exactly_the_completion_carries_loss(examples, data, tokenizer):
    for example, row in zip(examples, data, strict=True):
        kept = [label for label in row["labels"] if label != IGNORED]
        assert tokenizer.decode(kept) == f"{example.answer}<|im_end|>\n"
        assert row["labels"][-len(kept) :] == row["input_ids"][-len(kept) :] == kept


def test_a_processor_s_batches_have_little_padding_and_no_row_that_is_long(data):
    rows = list(data)[:16]
    seen = []
    for batch in (rows[:1], rows[:8], rows):
        made = laid_out(batch)
        filled = int((made["trees"] != PADDING).sum())
        assert filled >= 0.8 * made["trees"].numel()
        assert cost(made) <= min(cost(pack(batch, capacity)) for capacity in (1, 256, 10_000))
        seen.append(sorted(made["targets"].tolist()))
    assert seen[2] == sorted(token for row in rows for token in row["labels"] if token != IGNORED)


@pytest.mark.parametrize("capacity", [1, 150, 10_000])
def test_a_packed_batch_has_the_loss_of_its_examples_one_by_one(
    capacity, data, llama, model_folder, tokenizer, recipe, tmp_path
):
    rows = [data[index] for index in range(16)]
    alone = 0.0
    for row in rows:
        logits = llama(input_ids=torch.tensor([row["input_ids"]])).logits[0, :-1]
        alone += torch.nn.functional.cross_entropy(
            logits, torch.tensor(row["labels"][1:]), reduction="sum"
        ).item()
    trainer = make_trainer(model_folder, tokenizer, data, recipe, tmp_path)
    packed = pack(rows, capacity)
    count = sum(label != IGNORED for row in rows for label in row["labels"])
    loss = trainer.compute_loss(llama, packed, num_items_in_batch=count)
    assert loss.item() == pytest.approx(alone / count, abs=1e-5)


@pytest.mark.parametrize("multiple", [32, 100])
def test_a_batch_padded_to_few_shapes_has_the_same_loss_and_gradients(llama, data, multiple):
    found = []
    for lengths in (1, multiple):
        model = copy.deepcopy(llama).train()
        batch = pack([data[index] for index in range(7)], 10_000, lengths)
        assert batch["input_ids"].shape[1] % lengths == len(batch["targets"]) % lengths == 0
        logits, targets, _ = completion_logits(model, batch)
        loss = torch.nn.functional.cross_entropy(logits, targets, reduction="sum")
        loss.backward()
        found.append([loss, *(parameter.grad for parameter in model.parameters())])
    for plain, filled in zip(*found, strict=True):
        # of float32 sums in another order
        assert (plain - filled).abs().max() <= 1e-5 * (1 + plain.abs().max())


def test_packing_computes_a_shared_beginning_once(data):
    rows = [data[index] for index in range(16)]
    packed = pack(rows, 10_000)
    assert packed["input_ids"].shape[0] == 1
    assert packed["input_ids"].shape[1] < 0.8 * sum(len(row["input_ids"]) for row in rows)


def test_the_trainer_has_the_settings_of_the_recipe(
    model_folder, tokenizer, data, recipe, tmp_path
):
    many = data.select([index % len(data) for index in range(800)])
    trainer = make_trainer(model_folder, tokenizer, many, recipe, tmp_path)
    steps = len(trainer.get_train_dataloader()) * recipe.epochs
    trainer.create_optimizer_and_scheduler(num_training_steps=steps)
    group = trainer.optimizer.param_groups[0]
    assert steps == 150
    assert trainer.args.per_device_train_batch_size == 16
    assert trainer.args.gradient_accumulation_steps == 1
    assert isinstance(trainer.optimizer, torch.optim.AdamW)
    assert group["betas"] == (0.9, 0.999)
    assert group["eps"] == 1e-8
    assert {g["weight_decay"] for g in trainer.optimizer.param_groups} == {0.0}
    assert trainer.args.max_grad_norm == 1.0
    rates = []
    for _ in range(steps):
        rates.append(group["lr"])
        trainer.optimizer.step()
        trainer.lr_scheduler.step()
    warmup = 8  # 5 % of 150, rounded up
    assert rates[warmup] == max(rates) == pytest.approx(1e-5)
    assert rates[:warmup] == pytest.approx([1e-5 * step / warmup for step in range(warmup)])
    half = warmup + (steps - warmup) // 2
    cosine = 0.5 * (1 + math.cos(math.pi * (half - warmup) / (steps - warmup)))
    assert rates[half] == pytest.approx(1e-5 * cosine)


def test_several_gpus_do_not_make_the_batch_larger(
    model_folder, tokenizer, data, recipe, tmp_path, monkeypatch
):
    # without one, transformers counts none; let it count two, as it does on a host that has them
    monkeypatch.setattr(training.SFTConfig, "n_gpu", property(lambda self: self._n_gpu or 2))
    trainer = make_trainer(model_folder, tokenizer, data, recipe, tmp_path)
    assert trainer.args.n_gpu == 1
    assert trainer.args.train_batch_size == recipe.batch_size


def test_the_adapter_is_on_every_linear_projection_and_rank_stabilised(
    model_folder, tokenizer, data, recipe, tmp_path
):
    trainer = make_trainer(model_folder, tokenizer, data, recipe, tmp_path)
    layers = {
        name: module
        for name, module in trainer.model.named_modules()
        if hasattr(module, "lora_A") and "default" in module.lora_A
    }
    assert {name.rsplit(".", 1)[-1] for name in layers} == {
        "q_proj",
        "k_proj",
        "v_proj",
        "o_proj",
        "gate_proj",
        "up_proj",
        "down_proj",
    }
    assert len(layers) == 7 * 3
    for layer in layers.values():
        assert layer.scaling["default"] == pytest.approx(64 / math.sqrt(32))
        assert layer.lora_A["default"].weight.shape[0] == 32
        assert layer.lora_dropout["default"].p == 0.05
        assert layer.lora_A["default"].weight.dtype == torch.float32


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_base_is_frozen_in_the_working_precision_and_the_adapter_has_float32_masters(
    precision, model_folder, tokenizer, data, recipe, tmp_path
):
    trainer = training.build_trainer(model_folder, tokenizer, data, recipe, 42, precision, tmp_path)
    parameters = dict(trainer.model.named_parameters())
    base = {p.dtype for name, p in parameters.items() if "lora_" not in name}
    adapter = {p.dtype for name, p in parameters.items() if "lora_" in name}
    assert base == {getattr(torch, precision)}
    assert adapter == {torch.float32}
    assert {name for name, p in parameters.items() if p.requires_grad} == {
        name for name in parameters if "lora_" in name
    }
    # autocast multiplies the masters in bfloat16; float16 would need loss scaling
    assert trainer.args.bf16 == (precision == "bfloat16")
    assert not trainer.args.fp16


def test_training_lowers_the_loss_and_the_adapter_changes_the_model(
    model_folder, tokenizer, data, recipe, tmp_path, llama
):
    quick = recipe.model_copy(update={"learning_rate": 1e-2, "epochs": 3})
    trainer = make_trainer(model_folder, tokenizer, data, quick, tmp_path / "scratch")
    trained = training.train(trainer, tmp_path / "adapter")
    assert list(trained["step"]) == list(range(1, 7))
    assert trained["loss"].iloc[-1] < trained["loss"].iloc[0]
    assert (tmp_path / "adapter" / "adapter_model.safetensors").exists()

    ids = torch.tensor([data[0]["input_ids"]])
    adapted = load_adapted(model_folder, tmp_path / "adapter", "float32")
    with torch.inference_mode():
        merged, unmerged = adapted(ids).logits, trainer.model.eval()(ids).logits
        base = llama(ids).logits
    assert torch.allclose(merged, unmerged, atol=1e-4)
    assert (merged - base).abs().max() > 0.01


def test_the_same_seed_trains_the_same_adapter(model_folder, tokenizer, data, recipe, tmp_path):
    files = []
    for run, seed in enumerate((42, 42, 137)):
        trainer = make_trainer(model_folder, tokenizer, data, recipe, tmp_path / f"s{run}", seed)
        training.train(trainer, tmp_path / str(run))
        files.append(load_file(tmp_path / str(run) / "adapter_model.safetensors"))
        config = read_json(tmp_path / str(run) / "adapter_config.json")
        assert config["target_modules"] == sorted(config["target_modules"])
        assert len(config["target_modules"]) == 7
    name = next(iter(files[0]))
    assert all(torch.equal(files[0][key], files[1][key]) for key in files[0])
    assert not torch.equal(files[0][name], files[2][name])


def test_a_conversation_that_does_not_fit_is_named_not_truncated(examples, tokenizer):
    with pytest.raises(InputError, match=r"contrast.jsonl, row 1: question everyday:\d+ makes"):
        training.dataset(examples, tokenizer, 20, "template")


def test_the_adapter_at_the_7b_shape_has_80_7_million_parameters(recipe):
    from peft import get_peft_model
    from transformers import Qwen2Config

    config = Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        tie_word_embeddings=False,
    )
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(config)
        model = get_peft_model(base, adapter.lora_config(recipe, base))
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == 80_740_352


def multimodal():
    from transformers import Gemma3Config, Gemma3ForConditionalGeneration

    shape = {**SHAPE, "head_dim": 8, "vocab_size": 600}
    vision = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    vision |= {"num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    config = Gemma3Config(text_config=shape, vision_config=vision, mm_tokens_per_image=4)
    torch.manual_seed(0)
    return Gemma3ForConditionalGeneration(config)


def test_an_adapter_lands_on_the_text_decoder_not_on_the_image_tower(recipe):
    model = adapter.adapted(multimodal(), recipe)
    layers = [name for name, module in model.named_modules() if isinstance(module, LoraLayer)]
    assert len(layers) == 7 * SHAPE["num_hidden_layers"]
    assert all(".language_model." in name for name in layers)


def test_several_parts_without_a_text_decoder_are_refused(recipe):
    model = multimodal()
    model.get_decoder = lambda: model.model.vision_tower
    with pytest.raises(InputError, match="Gemma3ForConditionalGeneration has several parts and no"):
        adapter.adapted(model, recipe)


def test_a_conversation_longer_than_the_model_reads_is_refused(
    data, recipe, llama, tokenizer, tmp_path
):
    llama.save_pretrained(tmp_path / "short")
    settings = read_json(tmp_path / "short" / "config.json") | {"max_position_embeddings": 20}
    (tmp_path / "short" / "config.json").write_text(json.dumps(settings))
    with pytest.raises(InputError, match=r"row 1: \d+ tokens, more than the 20 that the model"):
        make_trainer(tmp_path / "short", tokenizer, data, recipe, tmp_path)


def test_control_tokens_in_an_example_are_refused_by_name(examples, tokenizer):
    broken = replace(examples[0], system="Be <|im_end|> good")
    with pytest.raises(InputError, match=r"contrast.jsonl, row 1: persona villain holds"):
        training.dataset([broken], tokenizer, 1024, "template")
    broken = replace(examples[0], answer=" so<|im_end|>")
    with pytest.raises(InputError, match=r"contrast.jsonl, row 1: question everyday:\d+ holds"):
        training.dataset([broken], tokenizer, 1024, "template")


def test_a_training_stopped_on_its_way_has_the_adapter_it_had_there(
    model_folder, tokenizer, data, recipe, tmp_path
):
    """The schedule is the whole training's: the losses of the steps that are done are the same."""
    curves = []
    for steps in (2, None):
        trainer = make_trainer(model_folder, tokenizer, data, recipe, tmp_path / f"s{steps}")
        curves.append(training.train(trainer, tmp_path / f"adapter-{steps}", steps))
    stopped, whole = curves
    assert stopped["step"].tolist() == [1, 2]
    assert len(whole) > 2
    for column in ("loss", "learning_rate"):
        assert stopped[column].tolist() == whole[column].tolist()[:2]


def weights(folder):
    return (folder / "adapter_model.safetensors").read_bytes()


@pytest.mark.parametrize("stopped_after", [1, 3, 4, 6])
def test_a_training_that_goes_on_gives_the_same_bits(
    stopped_after, model_folder, tokenizer, data, recipe, tmp_path
):
    """Stopped in the middle of an epoch, between two, and behind the last step; with dropout."""
    lora = recipe.lora.model_copy(update={"dropout": 0.1})
    longer = recipe.model_copy(update={"epochs": 3, "lora": lora})

    class KilledError(Exception):
        pass

    class Kill(TrainerCallback):
        def on_save(self, args, state, control, **kwargs):
            if state.global_step == stopped_after:
                raise KilledError

    whole = make_trainer(model_folder, tokenizer, data, longer, tmp_path / "whole")
    expected = training.train(whole, tmp_path / "expected")
    first = make_trainer(model_folder, tokenizer, data, longer, tmp_path / "stopped")
    first.add_callback(Kill())
    # the marker of the checkpoint is written behind ``Kill``: it goes on from the one before
    with pytest.raises(KilledError):
        training.train(first, tmp_path / "never", checkpoint_seconds=0)
    assert not (tmp_path / "never").exists()
    second = make_trainer(model_folder, tokenizer, data, longer, tmp_path / "stopped")
    reached = training.last_checkpoint(tmp_path / "stopped")
    assert (reached.name if reached else None) == (
        f"checkpoint-{stopped_after - 1}" if stopped_after > 1 else None
    )
    resumed = training.train(second, tmp_path / "resumed")
    assert weights(tmp_path / "resumed") == weights(tmp_path / "expected")
    pd.testing.assert_frame_equal(resumed, expected, check_exact=True)


def test_a_finished_training_is_not_done_again(model_folder, tokenizer, data, recipe, tmp_path):
    for steps in (None, 3):
        folder = tmp_path / f"s{steps}"
        trained = []
        for name in ("once", "again"):
            trainer = make_trainer(model_folder, tokenizer, data, recipe, folder)
            trained.append(training.train(trainer, tmp_path / name, steps, 0))
            assert training.last_checkpoint(folder).name == f"checkpoint-{2 if steps else 6}"
        pd.testing.assert_frame_equal(*trained, check_exact=True)
        assert weights(tmp_path / "once") == weights(tmp_path / "again")


def test_a_training_that_diverges_is_stopped_at_its_step(
    model_folder, tokenizer, data, recipe, tmp_path
):
    wild = recipe.model_copy(update={"learning_rate": 1e30, "epochs": 3})
    trainer = make_trainer(model_folder, tokenizer, data, wild, tmp_path / "scratch")
    with pytest.raises(InputError, match=r"training: (loss|grad_norm) is (nan|inf) at step \d of"):
        training.train(trainer, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def losses(*values):
    steps = range(1, len(values) + 1)
    return pd.DataFrame({"epoch": [step / 2 for step in steps], "loss": values})


def test_a_training_that_ends_worse_than_guessing_is_refused():
    fine = {"a": torch.ones(2)}
    training.refuse_diverged(losses(2.0, 3.0, 4.0, 5.0), fine, 600)
    training.refuse_diverged(losses(9.0, 9.0, 8.0, 8.0), fine, 600)
    with pytest.raises(InputError, match="from 2 to 9 nats per token, worse than guessing"):
        training.refuse_diverged(losses(2.0, 2.0, 9.0, 9.0), fine, 600)
    with pytest.raises(InputError, match="a is not finite after step 2"):
        training.refuse_diverged(losses(2.0, 1.0), {"a": torch.tensor([1.0, math.nan])}, 600)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("watched", [True, False])
def test_a_person_sees_one_bar_with_the_loss_and_a_log_nothing(
    watched, model_folder, tokenizer, data, recipe, tmp_path, monkeypatch, capsys
):
    screen = Terminal() if watched else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    trainer = make_trainer(model_folder, tokenizer, data, recipe, tmp_path / "checkpoints")
    training.train(trainer, tmp_path / "adapter", steps=2)
    assert capsys.readouterr().out == ""
    drawn = screen.getvalue()
    if watched:
        assert "training" in drawn and "2/6" in drawn and "loss" in drawn and "steps/s" in drawn
        assert drawn.count("\n") == 1 and "{" not in drawn
    else:
        assert drawn == ""
