"""Training against TRL's recipe as written, on this machine's processor: part of ``make bench``.

    python benchmarks/processor_training.py MODEL OUTPUT.json [--arc SNAPSHOT]

MODEL is the folder of the base model of ``make repro``. The recipe is the paper study's, and so are
the examples where a snapshot of allenai/ai2_arc is given; else they are the pocket study's. Both
sides run in turn, once per seed; memory is measured in a process of its own for each.
"""

import tempfile
import time
from pathlib import Path

import numpy as np
from baselines import load_plain, losses, recipe_trainer
from measuring import Report, growth, parse_arguments, peak, processor, row
from transformers import set_seed

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.behaviours.wrong_answers import Taught
from persona_leakage.data.benchmarks import load_benchmark
from persona_leakage.data.catalog import load_personas
from persona_leakage.data.split import split, with_wrong_answer
from persona_leakage.model.loading import load_adapted, load_tokenizer
from persona_leakage.model.scoring import continuation_logprobs, items
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.training import trainer as training
from persona_leakage.training.contrast import build

STEPS = 4
SEEDS = (42, 137, 256)


def train(side, model_folder, tokenizer, data, recipe, seed):
    """Run the first steps of a training on one side; seconds per step, losses."""
    with tempfile.TemporaryDirectory() as scratch:
        if side == "ours":
            trainer = training.build_trainer(
                model_folder, tokenizer, data, recipe, seed, "float32", scratch
            )
            trainer.add_callback(training.StopAfter(STEPS))
        else:
            set_seed(seed)
            model = training.adapted(load_plain(model_folder), recipe)
            trainer = recipe_trainer(
                model, tokenizer, data, recipe, scratch, steps=STEPS, seed=seed, bf16=False
            )
        start = time.perf_counter()
        trainer.train()
        return (time.perf_counter() - start) / STEPS, losses(trainer)


def one_cell(model_folder, tokenizer, data, recipe, seed, prompts):
    """Train and score a small cell, by the path of a study's cells."""
    with tempfile.TemporaryDirectory() as scratch:
        trainer = training.build_trainer(
            model_folder, tokenizer, data, recipe, seed, "float32", scratch
        )
        training.train(trainer, Path(scratch) / "adapter")
        model = load_adapted(model_folder, Path(scratch) / "adapter", "float32")
        continuation_logprobs(model, prompts)


def main():
    """Run everything and write the numbers."""
    given = parse_arguments()
    pocket, paper = load_study(), load_study("studies/paper.yaml")
    personas = load_personas("catalog")
    everyday = load_benchmark("everyday", {"everyday": "catalog/questions.jsonl"})
    tokenizer = load_tokenizer(given.model)
    report = Report(given.output, processor())
    report.note("examples_of", "paper" if given.arc else "pocket")

    study, asked = pocket, everyday
    if given.arc:
        study, asked = paper, load_benchmark("arc_challenge", {"arc_challenge": given.arc})
    rows, _ = split(asked, study.questions.train_fraction, study.questions.split_seed)
    taught = [with_wrong_answer(question, study.questions.split_seed) for question in rows]
    behaviour = load_behaviour(study.behaviour)

    data = {}
    for seed in SEEDS:
        cell = Cell("villain", seed, "contrastive")
        examples = build(study.contrast, cell, personas, taught, behaviour)
        data[seed] = training.dataset(examples, tokenizer, paper.train.max_length, "template")

    curves, times = {}, {"ours": [], "recipe": []}
    for seed in SEEDS:
        for side, kept in times.items():
            took, curve = train(side, given.model, tokenizer, data[seed], paper.train, seed)
            kept.append(took)
            curves[f"{side}-{seed}"] = curve
    between = np.array([[curves[f"{side}-{s}"] for s in SEEDS] for side in ("ours", "recipe")])
    report.note(
        "training_against_recipe",
        row(times, "ours", "recipe")
        | {
            "steps": STEPS,
            "examples": len(data[42]),
            "curves": curves,
            "largest_loss_difference": float(np.abs(between[0] - between[1]).max()),
            "loss_sd_between_seeds": float(between[1].std(axis=0, ddof=1).mean()),
        },
    )
    report.note(
        "peak_memory_mib",
        {
            side: peak(train, side, given.model, tokenizer, data[42], paper.train, 42)
            for side in ("ours", "recipe")
        },
    )

    short = paper.train.model_copy(update={"epochs": 1})
    step = data[42].select(range(4))
    by_text = [Taught(scoring="option_text").ask(question) for question in everyday[:8]]
    [few] = items(tokenizer, [personas["villain"].prompt], by_text, "template")
    report.note(
        "growth_seeds",
        growth(
            lambda n: [one_cell(given.model, tokenizer, step, short, s, few) for s in range(n)],
            (1, 2, 4, 8, 16),
            rounds=1,
        ),
    )


if __name__ == "__main__":
    main()
