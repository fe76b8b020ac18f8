"""Training steps and scoring on a GPU at two sizes, against what the arithmetic needs.

    python benchmarks/gpu_steps.py SNAPSHOT OUTPUT.json [--personas 11] [--parts scoring ...]
        [--shapes 7B ...] [--python PYTHON]

SNAPSHOT is a folder laid out like the hub's allenai/ai2_arc. Of each shape, with random weights:

- training: a cell is trained with steps launched kernel by kernel, twice, then with recorded ones,
  on the same examples in the same order, and by TRL with Liger's kernels;
- unsloth: the same examples by Unsloth, which PYTHON has, the interpreter of another environment;
- scoring: personas are scored with several budgets of tokens per pass.

With ``--parts`` and ``--shapes`` these alone are measured anew, and the rest of OUTPUT stays.
"""

import argparse
import gc
import json
import math
import tempfile
from itertools import product
from pathlib import Path

import torch
from baselines import losses, recipe_trainer
from clock import Clock
from full_size import (
    SHAPES,
    body_of,
    machine,
    make_base,
    material,
    matrix_rate,
    needed_flops,
    timed,
)
from measuring import Report, in_environment
from with_unsloth import RESULT, TASK

from persona_leakage.model import scoring
from persona_leakage.model.architecture import packed_budget
from persona_leakage.model.kernels import fused
from persona_leakage.model.scoring import items, logprobs_of_each
from persona_leakage.model.shared_prefix import IGNORED
from persona_leakage.study.cell import Cell
from persona_leakage.training import trainer as training
from persona_leakage.training.adapter import projections
from persona_leakage.training.contrast import build

CELL = Cell("villain", 42, "contrastive")
PARTS = ("training", "unsloth", "scoring")
LAUNCHED = 40  # steps that are launched kernel by kernel


def main():
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("snapshot")
    parser.add_argument("output", type=Path)
    parser.add_argument("--personas", type=int, default=11)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=PARTS)
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, default=list(SHAPES))
    parser.add_argument("--python", help="interpreter that has Unsloth")
    given = parser.parse_args()
    before = json.loads(given.output.read_text()) if given.output.exists() else {}
    report = Report(given.output, machine())
    report.update(before | report)
    made_of = material(given.snapshot)
    rate = matrix_rate() / 1e12
    for name in given.shapes:
        base = make_base(name)
        if "training" in given.parts:
            with tempfile.TemporaryDirectory() as scratch:
                train(name, base, made_of, scratch, rate, report)
        if "unsloth" in given.parts:
            base.cpu()  # the GPU is for the other process
            torch.cuda.empty_cache()
            report.note(f"unsloth_{name}", unsloth(given.python, base, made_of))
            base.cuda()
        if "scoring" in given.parts:
            score(name, base, made_of, given.personas, rate, report)
        del base
        gc.collect()
        torch.cuda.empty_cache()


def examples_of(made_of):
    """Tokenise what the cell that is trained is taught."""
    study = made_of.study
    examples = build(study.contrast, CELL, made_of.personas, made_of.taught, made_of.behaviour)
    length, role = study.train.max_length, study.model.system_role
    return training.dataset(examples, made_of.tokenizer, length, role)


def train(name, base, made_of, scratch, rate, report):
    """Train one shape in every way."""
    study, tokenizer, data = made_of.study, made_of.tokenizer, examples_of(made_of)
    parameters = sum(p.numel() for p in base.parameters())
    found = {"parameters": parameters, "matrix_tflops": rate}
    curves = {}
    for way in ("launched", "again", "recorded"):
        model = training.adapted(base, study.train)  # in place: base holds the adapter, too
        trainer = training.trainer_of(
            model, tokenizer, data, study.train, CELL.seed, study.model.precision, scratch
        )
        clock = Clock()
        trainer.add_callback(clock)
        if way != "recorded":
            trainer.recorded = None
            trainer.add_callback(training.StopAfter(LAUNCHED))
        torch.cuda.reset_peak_memory_stats()
        seconds, _ = timed(trainer.train)
        curves[way] = losses(trainer)
        found[way] = {
            "steps": trainer.state.global_step,
            "seconds": seconds,
            "seconds_per_step": clock.per_step(),
            "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
            "first_loss": curves[way][0],
            "last_loss": curves[way][-1],
        }
        if way == "recorded":
            batches = [trainer.data_collator(rows) for rows in batches_of(data, study.train)]
            tokens = sum(int((batch["trees"] >= 0).sum()) for batch in batches) / len(batches)
            found["shapes"] = len({batch["input_ids"].shape for batch in batches})
            # forward, and backward to the activations: the weights themselves are frozen
            found["needed_seconds_per_step"] = 4 * body_of(base) * tokens / rate / 1e12
        model.unload()
        trainer.model = trainer.model_wrapped = trainer.recorded = None
        del trainer
        gc.collect()
        torch.cuda.empty_cache()
    for other in ("again", "recorded"):
        pairs = zip(curves["launched"], curves[other], strict=False)
        found[other]["largest_difference_of_a_loss"] = max(abs(a - b) for a, b in pairs)
    found["times_the_needed"] = found["recorded"]["seconds"] / (
        found["recorded"]["steps"] * found["needed_seconds_per_step"]
    )
    if report["machine"]["liger"]:
        found["trl_liger"] = outside(base, tokenizer, data, study.train, scratch)
    report.note(f"training_{name}", found)


def score(name, base, made_of, count, rate, report):
    """Score personas with one shape, by the tokens of a pass."""
    study, personas, tokenizer = made_of.study, made_of.personas, made_of.tokenizer
    base = fused(base.eval())
    systems = [persona.prompt for persona in list(personas.values())[:count]]
    prompts = list(items(tokenizer, systems, made_of.asked, study.model.system_role))
    flops = sum(needed_flops(base, made)[0] for made in prompts)
    chosen, by_budget = packed_budget(base), {}
    for budget in sorted({2048, 4096, 8192, 16384, 32768, 65536, chosen}):
        scoring.packed_budget = lambda model, tokens=budget: tokens
        list(logprobs_of_each(base, prompts[:1]))
        seconds, _ = timed(lambda: list(logprobs_of_each(base, prompts)))
        by_budget[budget] = {
            "seconds_per_persona": seconds / len(prompts),
            "share_of_matrix_rate": flops / seconds / rate / 1e12,
        }
        numbers = {"matrix_tflops": rate, "chosen": chosen, "by_budget": by_budget}
        report.note(f"scoring_{name}", numbers)
    scoring.packed_budget = packed_budget
    made = items(tokenizer, systems, made_of.asked, study.model.system_role)
    seconds, _ = timed(lambda: list(logprobs_of_each(base, made)))
    report.note(f"scoring_{name}", numbers | {"prompts_made_on_the_way": seconds / len(prompts)})


def outside(base, tokenizer, data, recipe, scratch):
    """Train the same examples with TRL and Liger's kernels, which stay in the base."""
    model = training.adapted(base, recipe)
    trainer = recipe_trainer(
        model, tokenizer, data, recipe, scratch, steps=LAUNCHED, seed=42, bf16=True, liger=True
    )
    clock = Clock()
    trainer.add_callback(clock)
    torch.backends.cuda.enable_cudnn_sdp(True)  # torch's default, which ``settle`` turns off
    torch.cuda.reset_peak_memory_stats()
    trainer.train()
    torch.backends.cuda.enable_cudnn_sdp(False)
    curve = losses(trainer)
    model.unload()
    return {
        "steps": trainer.state.global_step,
        "seconds_per_step": clock.per_step(),
        "peak_GiB": torch.cuda.max_memory_allocated() / 2**30,
        "first_loss": curve[0],
        "last_loss": curve[-1],
    }


def unsloth(python, base, made_of):
    """Train the same examples with Unsloth, in processes of its own.

    As it lays batches out by itself, and with padding; with the recipe's dropout, and without any,
    for which alone its own kernels are made.
    """
    recipe, data, found = made_of.study.train, examples_of(made_of), []
    steps = math.ceil(len(data) / recipe.batch_size) * recipe.epochs
    examples = [
        {
            "input_ids": row["input_ids"],
            "completion_mask": [int(label != IGNORED) for label in row["labels"]],
        }
        for row in data
    ]
    task = {
        "recipe": recipe.model_dump(),
        "projections": projections(base),
        "warmup_steps": math.ceil(recipe.warmup_fraction * steps),
        "steps": 60,
        "untimed": 30,  # it compiles first, and again for other lengths
        "seed": CELL.seed,
        "examples": examples,
    }
    script = Path(__file__).resolve().with_name("with_unsloth.py")
    with tempfile.TemporaryDirectory() as folder:
        base.save_pretrained(folder)
        made_of.tokenizer.save_pretrained(folder)
        Path(folder, TASK).write_text(json.dumps(task))
        for dropout, padded in product((recipe.lora.dropout, 0.0), ([], ["--padded"])):
            # the folder is where it writes what it compiles
            in_environment(python, [script, folder, dropout, *padded], cwd=folder)
            found.append(json.loads(Path(folder, RESULT).read_text()))
    return found


def batches_of(data, recipe):
    """Cut the examples into batches, in their order."""
    rows = list(data)
    size = recipe.batch_size
    return [rows[start : start + size] for start in range(0, len(rows), size)]


if __name__ == "__main__":
    main()
