"""The project against its baselines on this machine's processor: ``make bench``.

    python benchmarks/processor.py MODEL OUTPUT.json [--arc SNAPSHOT]

MODEL is the folder of the base model of ``make repro``. Every comparison runs both sides in turn,
three rounds, in this process; memory is measured in a process of its own for each side.
"""

import argparse
import json
import multiprocessing
import platform
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from baselines import (
    alternate,
    apart,
    best_batch,
    harness,
    losses,
    plain_labels,
    recipe_trainer,
    same_argmax,
    stop_after,
)
from peft import get_peft_model
from transformers import AutoModelForCausalLM, set_seed

from persona_leakage import training
from persona_leakage.catalog import load_personas
from persona_leakage.contrast import build
from persona_leakage.model import dtype, load_adapted, load_model, load_tokenizer
from persona_leakage.params import Cell, load_study
from persona_leakage.questions import load_benchmark, split, with_wrong_answer
from persona_leakage.scoring import (
    _Row,
    common_prefix,
    continuation_logprobs,
    items,
    plain_logprobs,
)

ROUNDS = 3
STEPS = 4
SEEDS = (42, 137, 256)


def row(seconds, ours, baseline):
    """Medians of both sides and their ratio."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "seconds": medians,
        "rounds": seconds,
        "ratio": medians[baseline] / medians[ours],
    }


def needed_flops(model, prompts):
    """FLOPs of the decoder's matrices for the tokens that have to be computed: 2 a weight."""
    body = sum(
        p.numel()
        for name, p in model.get_decoder().named_parameters()
        if name.endswith("proj.weight")
    )
    shared = common_prefix([item.prompt for item in prompts])
    rows = [_Row.of(item, shared) for item in prompts]
    return 2 * body * (shared + sum(len(row.ids) for row in rows))


def train(side, model_folder, tokenizer, data, recipe, seed):
    """Run the first steps of a training on one side; seconds a step after the first, losses."""
    with tempfile.TemporaryDirectory() as scratch:
        if side == "ours":
            trainer = training.build_trainer(
                model_folder, tokenizer, data, recipe, seed, "float32", scratch
            )
            stop_after(trainer, STEPS)
        else:
            set_seed(seed)
            model = get_peft_model(load_plain(model_folder), training.lora_config(recipe))
            trainer = recipe_trainer(
                model, tokenizer, data, recipe, scratch, steps=STEPS, seed=seed, bf16=False
            )
        start = time.perf_counter()
        trainer.train()
        return (time.perf_counter() - start) / STEPS, losses(trainer)


def peak(work, *arguments):
    """Peak resident memory, MiB, of a piece of work in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, arguments))


def _measured(work, arguments):
    work(*arguments)
    # not getrusage, whose peak a process inherits from the one that started it
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def load_plain(model_folder, kind=torch.float32):
    """Load the model as transformers does, without our kernels: for the baselines."""
    return AutoModelForCausalLM.from_pretrained(model_folder, dtype=kind).eval()


def score_side(side, model_folder, prompts):
    """Score on one side, for its memory."""
    if side == "ours":
        continuation_logprobs(load_model(model_folder, "float32"), prompts)
    else:
        plain_labels(load_plain(model_folder), prompts)


def one_cell(model_folder, tokenizer, data, recipe, seed, prompts):
    """Train and score a small cell, by the path of a study's cells."""
    with tempfile.TemporaryDirectory() as scratch:
        trainer = training.build_trainer(
            model_folder, tokenizer, data, recipe, seed, "float32", scratch
        )
        training.train(trainer, Path(scratch) / "adapter")
        model = load_adapted(model_folder, Path(scratch) / "adapter", "float32")
        continuation_logprobs(model, prompts)


def growth(work, sizes, rounds=ROUNDS):
    """Seconds over sizes, and the slope of their logarithms: 1 is linear."""
    work(sizes[0])
    seconds = [statistics.median(_timed(work, size) for _ in range(rounds)) for size in sizes]
    slope, _ = np.polyfit(np.log(sizes), np.log(seconds), 1)
    # a fixed cost beside the linear one bends the logarithms: fit that too
    cost, fixed = np.polyfit(sizes, seconds, 1)
    fitted = np.polyval([cost, fixed], sizes)
    r_squared = 1 - ((seconds - fitted) ** 2).sum() / ((seconds - np.mean(seconds)) ** 2).sum()
    return {
        "sizes": list(sizes),
        "seconds": seconds,
        "log_slope": float(slope),
        "linear_r_squared": float(r_squared),
    }


def _timed(work, size):
    start = time.perf_counter()
    work(size)
    return time.perf_counter() - start


def main():
    """Run everything and write the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("output", type=Path)
    parser.add_argument("--arc", help="snapshot of allenai/ai2_arc; else the everyday questions")
    given = parser.parse_args()
    study = load_study()
    personas = load_personas("catalog")
    everyday = load_benchmark("everyday", {"everyday": "catalog/questions.jsonl"})
    benchmark = load_benchmark("arc_challenge", {"arc_challenge": given.arc}) if given.arc else None
    tokenizer = load_tokenizer(given.model)
    model, half = (load_model(given.model, name) for name in ("float32", "bfloat16"))
    auto = model if dtype("auto") is torch.float32 else half
    baseline = load_plain(given.model)
    report = {
        "machine": {
            "processor": torch.cpu.get_capabilities().get("cpu_name", platform.processor()),
            "cores": torch.get_num_threads(),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "label_questions": "arc_challenge" if benchmark else "everyday",
    }

    def note(key, value):
        report[key] = value
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(report, indent=1) + "\n")
        print(key, json.dumps(value), file=sys.stderr, flush=True)

    rates = {}
    for name, scorer in (("float32", model), ("bfloat16", half)):
        # by the very layer that scoring uses
        product = scorer.get_decoder().layers[0].mlp.up_proj
        tokens = torch.randn(768, product.in_features).to(scorer.dtype)
        with torch.inference_mode():
            times = alternate({"x": lambda x=tokens, f=product: [f(x) for _ in range(50)]}, 5)["x"]
        rates[name] = 2 * 768 * product.weight.numel() * 50 / statistics.median(times) / 1e9
    note("matrix_gflops", rates)

    asked = split(benchmark or everyday, 0.5, 42)[1][:200]
    villain = [personas["villain"].prompt]
    [labels] = items(tokenizer, villain, asked, "label", "template")
    external = harness(baseline, tokenizer)
    size = best_batch(external, labels[:48], (1, 2, 4, 8, 16))
    continuation_logprobs(model, labels[:48])
    plain_labels(baseline, labels[:8])
    seconds = alternate(
        {
            "ours": lambda: continuation_logprobs(model, labels),
            "ours_auto": lambda: continuation_logprobs(auto, labels),
            "plain": lambda: plain_labels(baseline, labels),
            "harness": lambda: external(labels, size),
        },
        ROUNDS,
    )
    median = statistics.median(seconds["ours"])
    rate = needed_flops(model, labels) / median / 1e9
    note(
        "label_against_plain",
        row(seconds, "ours", "plain")
        | {
            "questions": len(labels),
            "gflops": rate,
            "share_of_matrix_rate": rate / rates["float32"],
        },
    )
    note(
        "label_auto_against_plain",
        row(seconds, "ours_auto", "plain") | {"precision": str(auto.dtype).removeprefix("torch.")},
    )
    note("label_against_harness", row(seconds, "ours", "harness") | {"batch_size": size})

    [texts] = items(tokenizer, villain, everyday[:40], "option_text", "template")
    seconds = alternate(
        {
            "ours": lambda: continuation_logprobs(model, texts),
            "plain": lambda: plain_logprobs(baseline, texts),
        },
        ROUNDS,
    )
    note("option_text_against_plain", row(seconds, "ours", "plain"))

    reference = plain_labels(baseline, labels)
    plain_half = load_plain(given.model, torch.bfloat16)
    for name, scorer, loop in (("float32", model, baseline), ("bfloat16", half, plain_half)):
        ours, plain = continuation_logprobs(scorer, labels), plain_labels(loop, labels)
        note(
            f"{name}_exactness",
            {
                "largest_difference": apart(ours, plain),
                "same_argmax": same_argmax(ours, plain),
                "questions": len(labels),
                "ours_from_float32": apart(ours, reference),
                "plain_from_float32": apart(plain, reference),
            },
        )

    systems = [persona.prompt for persona in personas.values()][:32]
    everyone = list(items(tokenizer, systems, everyday[:16], "option_text", "template"))
    note(
        "growth_personas",
        growth(
            lambda n: [continuation_logprobs(model, prompts) for prompts in everyone[:n]],
            (2, 4, 8, 16, 32),
        ),
    )
    [every] = items(tokenizer, villain, everyday, "option_text", "template")
    note(
        "growth_questions",
        growth(lambda n: continuation_logprobs(model, every[:n]), (20, 40, 80, 160, 320)),
    )

    taught = [with_wrong_answer(question, 42) for question in split(everyday, 0.6, 42)[0]]

    def examples(seed):
        cell = Cell("villain", seed, "contrastive")
        return build(study.contrast, cell, personas, taught, "option_text")

    [few] = items(tokenizer, villain, everyday[:8], "option_text", "template")
    short = study.train.model_copy(update={"epochs": 1})
    step = training.dataset(
        examples(42)[: short.batch_size], tokenizer, short.max_length, "template"
    )
    note(
        "growth_seeds",
        growth(
            lambda n: [one_cell(given.model, tokenizer, step, short, s, few) for s in range(n)],
            (1, 2, 4, 8, 16),
            rounds=1,
        ),
    )

    recipe = load_study("studies/paper.yaml").train
    curves, times = {}, {"ours": [], "recipe": []}
    for seed in SEEDS:
        data = training.dataset(examples(seed), tokenizer, recipe.max_length, "template")
        for side, kept in times.items():
            took, curve = train(side, given.model, tokenizer, data, recipe, seed)
            kept.append(took)
            curves[f"{side}-{seed}"] = curve
    between = np.array([[curves[f"{side}-{s}"] for s in SEEDS] for side in ("ours", "recipe")])
    note(
        "training_against_recipe",
        row(times, "ours", "recipe")
        | {
            "steps": STEPS,
            "curves": curves,
            "largest_loss_difference": float(np.abs(between[0] - between[1]).max()),
            "loss_sd_between_seeds": float(between[1].std(axis=0, ddof=1).mean()),
        },
    )
    note(
        "peak_memory_mib",
        {
            "scoring": {
                side: peak(score_side, side, given.model, labels) for side in ("ours", "plain")
            },
            "training": {
                side: peak(train, side, given.model, tokenizer, data, recipe, 42)
                for side in ("ours", "recipe")
            },
        },
    )


if __name__ == "__main__":
    main()
