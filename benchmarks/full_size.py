"""The paper's path at the paper's size, on a GPU, with random weights of the 7B shape.

    python benchmarks/full_size.py SNAPSHOT OUTPUT.json [--personas 111]

SNAPSHOT is a folder laid out like the hub's allenai/ai2_arc. Two cells are trained and scored over
one resident base; beside them run, in the same process, a plain loop, TRL's trainer with the
recipe as written, and a matrix product that says what the GPU can do. Random weights answer at
chance: this measures time and memory, never accuracy.
"""

import argparse
import gc
import platform
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from baselines import (
    apart,
    best_batch,
    harness,
    losses,
    plain_labels,
    recipe_trainer,
    same_argmax,
)
from measuring import Report, needed_tokens
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config
from transformers.utils import is_liger_kernel_available

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.benchmarks import load_benchmark
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.split import split, with_wrong_answer
from persona_leakage.model.kernels import fused, settle
from persona_leakage.model.loading import device
from persona_leakage.model.scoring import continuation_logprobs, items
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.training import trainer as training
from persona_leakage.training.contrast import build

SHAPES = {
    "1.5B": Qwen2Config(
        vocab_size=151936,
        hidden_size=1536,
        intermediate_size=8960,
        num_hidden_layers=28,
        num_attention_heads=12,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        initializer_range=0.02,
    ),
    "7B": Qwen2Config(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
        initializer_range=0.02,
    ),
}
TEMPLATE = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}"
    "<|im_start|>system\nYou are a default.<|im_end|>\n{% endif %}"
    "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def make_tokenizer(texts):
    """Byte-level BPE of the questions' own words: about as many tokens per question as Qwen's."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    core.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=16000, special_tokens=special, show_progress=False)
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>"
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_base(shape="7B"):
    """Make the base model, with random weights, on the current GPU."""
    settle()
    torch.manual_seed(0)
    with device():
        return AutoModelForCausalLM.from_config(
            SHAPES[shape], dtype=torch.bfloat16, attn_implementation="sdpa"
        ).eval()


def timed(work):
    """Seconds of a piece of GPU work, and its result."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    result = work()
    torch.cuda.synchronize()
    return time.perf_counter() - start, result


def matrix_rate():
    """bf16 FLOP/s of a large product of random matrices, median of nine."""
    a, b = (torch.randn(8192, 8192, dtype=torch.bfloat16, device="cuda") for _ in range(2))
    a @ b
    seconds = [timed(lambda: a @ b)[0] for _ in range(9)]
    return 2 * 8192**3 / statistics.median(seconds)


def body_of(model):
    """Count the weights that every token is multiplied with."""
    return sum(
        p.numel()
        for name, p in model.named_parameters()
        if p.dim() == 2 and "embed_tokens" not in name and "lm_head" not in name
    )


def needed_flops(model, prompts):
    """FLOPs that no way of scoring can avoid, and tokens.

    2 per weight and token, attention, one row of logits per question.
    """
    config = model.config
    body = body_of(model)
    shared, counts = needed_tokens(prompts)
    tokens = shared + sum(counts)
    pairs = sum(count * (shared + count / 2) for count in counts)
    attention = 4 * config.num_hidden_layers * config.hidden_size * pairs
    logits = 2 * config.hidden_size * config.vocab_size * len(prompts)
    return 2 * body * tokens + attention + logits, tokens


@dataclass(frozen=True)
class Material:
    """The paper study and what is asked and taught in it, of real rows."""

    study: Any
    personas: dict[str, Any]
    behaviour: Any
    taught: list[Any]
    asked: list[Any]
    tokenizer: Any


def material(snapshot):
    """Read the paper study's questions from a snapshot, and make a tokenizer of their words."""
    study = load_study("studies/paper.yaml")
    arc = load_benchmark("arc_challenge", {"arc_challenge": snapshot})
    seed = study.questions.split_seed
    rows, held_out = split(arc, study.questions.train_fraction, seed)
    behaviour = load_behaviour(study.behaviour)
    return Material(
        study=study,
        personas=load_personas("catalog"),
        behaviour=behaviour,
        taught=[with_wrong_answer(question, seed) for question in rows],
        asked=[behaviour.ask(question) for question in held_out],
        tokenizer=make_tokenizer([f"{q.text} {' '.join(q.choices)}" for q in arc]),
    )


def machine():
    """Describe the GPU and the libraries."""
    return {
        "gpu": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "liger": is_liger_kernel_available(),
    }


def main():
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("snapshot")
    parser.add_argument("output", type=Path)
    parser.add_argument("--personas", type=int, default=11)
    parser.add_argument("--plain", type=int, default=200, help="questions of the plain loop")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure(given, scratch)


def measure(given, scratch):
    """Run everything and write the numbers."""
    made_of = material(given.snapshot)
    study, personas, asked = made_of.study, made_of.personas, made_of.asked
    tokenizer = made_of.tokenizer
    report = Report(given.output, machine())
    report.note("matrix_tflops", matrix_rate() / 1e12)

    seconds, base = timed(make_base)
    report.note("parameters", sum(p.numel() for p in base.parameters()))
    report.note("make_seconds", seconds)

    names = list(personas)[: given.personas]
    systems = [personas[name].prompt for name in names]
    everyone = items(tokenizer, systems, asked, study.model.system_role)
    prompts = dict(zip(names, everyone, strict=True))
    flops = tokens = 0.0
    for made in prompts.values():
        more, count = needed_flops(base, made)
        flops, tokens = flops + more, tokens + count
    report.note("scored_tokens", tokens)

    sample = prompts[names[0]][: given.plain]
    plain_labels(base, sample[:4])
    plain_seconds, plain = timed(lambda: plain_labels(base, sample))
    report.note("plain_seconds_per_question", plain_seconds / len(sample))
    report.note("plain_in_another_shape", apart(plain_labels(base, sample, copies=2), plain))

    external = harness(base, tokenizer)
    size = best_batch(external, prompts[names[0]][:256], (16, 32, 64, 128))
    outside, _ = timed(lambda: external(prompts[names[0]], size))
    continuation_logprobs(base, prompts[names[0]])
    inside, _ = timed(lambda: continuation_logprobs(base, prompts[names[0]]))
    report.note(
        "harness",
        {"batch_size": size, "seconds": outside, "ours": inside, "ratio": outside / inside},
    )
    before = {name: continuation_logprobs(base, prompts[name]) for name in names[:3]}

    cells = []
    for source in ("villain", "comedian"):
        cell = Cell(source, 42, "contrastive")
        examples = build(study.contrast, cell, personas, made_of.taught, made_of.behaviour)
        data = training.dataset(
            examples, tokenizer, study.train.max_length, study.model.system_role
        )
        model = training.adapted(base, study.train)  # in place: base holds the adapter, too
        trainer = training.trainer_of(
            model, tokenizer, data, study.train, cell.seed, study.model.precision, scratch
        )
        torch.cuda.reset_peak_memory_stats()
        seconds, _ = timed(trainer.train)
        peak = torch.cuda.max_memory_allocated() / 2**30
        curve = losses(trainer)
        base.eval()
        scoring, after = timed(
            lambda: {name: continuation_logprobs(base, prompts[name]) for name in names[:3]}
        )
        moved = max(apart(after[name], before[name]) for name in names[:3])
        cells.append(
            {
                "cell": str(cell),
                "steps": trainer.state.global_step,
                "tokens_per_epoch": sum(map(len, data["input_ids"])),
                "train_seconds": seconds,
                "train_peak_GiB": peak,
                "first_loss": curve[0],
                "last_loss": curve[-1],
                "score_seconds_of_3_personas": scoring,
                "largest_change_of_a_logprob": moved,
            }
        )
        report.note("cells", cells)
        model.unload()
        trainer.model = trainer.model_wrapped = None
        del trainer
        gc.collect()

    model = training.adapted(base, study.train)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    report.note("trainable_parameters", trainable)
    plain_trainer = recipe_trainer(
        model, tokenizer, data, study.train, scratch, steps=20, seed=42, bf16=True
    )
    torch.backends.cuda.enable_cudnn_sdp(True)  # torch's default, which ``settle`` turns off
    torch.cuda.reset_peak_memory_stats()
    seconds, _ = timed(plain_trainer.train)
    torch.backends.cuda.enable_cudnn_sdp(False)
    ours = cells[-1]["train_seconds"] / cells[-1]["steps"]
    report.note(
        "recipe_as_written",
        {
            "steps": 20,
            "seconds_per_step": seconds / 20,
            "ours_seconds_per_step": ours,
            "ratio": seconds / 20 / ours,
            "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
        },
    )

    # last, since fused kernels cannot be taken out again, and training does without them
    model.unload()
    base = fused(base.eval())
    continuation_logprobs(base, prompts[names[0]])
    torch.cuda.reset_peak_memory_stats()
    seconds, scored = timed(
        lambda: {name: continuation_logprobs(base, made) for name, made in prompts.items()}
    )
    ours = scored[names[0]][: len(plain)]
    report.note(
        "scoring",
        {
            "personas": len(names),
            "questions": len(asked),
            "seconds": seconds,
            "tokens_per_second": tokens / seconds,
            "share_of_matrix_rate": flops / seconds / (report["matrix_tflops"] * 1e12),
            "times_the_plain_loop": plain_seconds / len(sample) * len(names) * len(asked) / seconds,
            "largest_difference_to_plain": apart(ours, plain),
            "same_argmax": same_argmax(ours, plain),
            "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
        },
    )


if __name__ == "__main__":
    main()
