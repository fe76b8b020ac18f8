"""Training steps and scoring on a GPU at two sizes, against what the arithmetic needs.

    python benchmarks/gpu_steps.py SNAPSHOT OUTPUT.json [--personas 11] [--scoring]

SNAPSHOT is a folder laid out like the hub's allenai/ai2_arc. Of each shape, with random weights: a
cell is trained with steps launched kernel by kernel, twice, then with recorded ones, on the same
examples in the same order, and by TRL with Liger's kernels; then personas are scored with several
budgets of tokens per pass. With ``--scoring`` that alone is measured anew, and the rest of OUTPUT
stays.
"""

import argparse
import gc
import json
import tempfile
import time
from pathlib import Path

import torch
from baselines import losses, recipe_trainer
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
from measuring import Report

from persona_leakage.model import scoring
from persona_leakage.model.architecture import packed_budget
from persona_leakage.model.kernels import fused
from persona_leakage.model.scoring import items, logprobs_of_each
from persona_leakage.study.cell import Cell
from persona_leakage.training import trainer as training
from persona_leakage.training.contrast import build

LAUNCHED = 40  # steps that are launched kernel by kernel
FIRST = 3  # of them that are not timed


def main():
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("snapshot")
    parser.add_argument("output", type=Path)
    parser.add_argument("--personas", type=int, default=11)
    parser.add_argument("--scoring", action="store_true")
    given = parser.parse_args()
    before = json.loads(given.output.read_text()) if given.scoring else {}
    report = Report(given.output, machine())
    report.update(before)
    made_of = material(given.snapshot)
    rate = matrix_rate() / 1e12
    if not given.scoring:
        report.note("matrix_tflops", rate)
    for name in SHAPES:
        base = make_base(name)
        if not given.scoring:
            with tempfile.TemporaryDirectory() as scratch:
                train(name, base, made_of, scratch, report)
        score(name, base, made_of, given.personas, rate, report)
        del base
        gc.collect()
        torch.cuda.empty_cache()


def train(name, base, made_of, scratch, report):
    """Train one shape in every way."""
    study, personas, tokenizer = made_of.study, made_of.personas, made_of.tokenizer
    cell = Cell("villain", 42, "contrastive")
    examples = build(study.contrast, cell, personas, made_of.taught, made_of.behaviour)
    data = training.dataset(examples, tokenizer, study.train.max_length, study.model.system_role)
    rate = report["matrix_tflops"] * 1e12
    found = {"parameters": sum(p.numel() for p in base.parameters())}
    curves = {}
    for way in ("launched", "again", "recorded"):
        model = training.adapted(base, study.train)  # in place: base holds the adapter, too
        trainer = training.trainer_of(
            model, tokenizer, data, study.train, cell.seed, study.model.precision, scratch
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
            found["needed_seconds_per_step"] = 4 * body_of(base) * tokens / rate
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


def batches_of(data, recipe):
    """Cut the examples into batches, in their order."""
    rows = list(data)
    size = recipe.batch_size
    return [rows[start : start + size] for start in range(0, len(rows), size)]


class Clock(training.TrainerCallback):
    """Notes when each step ended."""

    def __init__(self):
        self.seconds = []

    def on_step_end(self, args, state, control, **more):
        """Note the time, once the GPU is done."""
        torch.cuda.synchronize()
        self.seconds.append(time.perf_counter())

    def per_step(self):
        """Mean seconds of a step, but for the first few."""
        return (self.seconds[-1] - self.seconds[FIRST]) / (len(self.seconds) - 1 - FIRST)


if __name__ == "__main__":
    main()
