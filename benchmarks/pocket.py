"""How long `make repro` takes from nothing, and how long its products alone would take here.

    python benchmarks/pocket.py FOLDER docs/performance/pocket.json

FOLDER is made: a clone of the last commit. Its environment is set up first and not counted. Needed
are two FLOPs for each weight of the decoder's matrices and each token that has to be computed, four
where a gradient goes through; the rate is that of such matrices in float32, before and after. The
clone stays, with the study that it computed.
"""

import argparse
import math
import os
import re
import statistics
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from measuring import (
    Report,
    children_seconds,
    decoder_weights,
    gflops,
    needed_tokens,
    processor,
)

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.catalog import load_neutral
from persona_leakage.data.persona_sets import Evaluated, Participants, by_name, evaluated_for
from persona_leakage.data.questions import read_questions
from persona_leakage.files import read_as
from persona_leakage.model.chat import Asked
from persona_leakage.model.kernels import product
from persona_leakage.model.loading import load_tokenizer, load_weights
from persona_leakage.model.scoring import items
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.predictors import EXAMPLES, QUESTIONS, affordable
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.training.example import read_examples
from persona_leakage.training.rows import laid_out, tokenised

STAGE = re.compile(r"Running stage '(\w+)")
LAST = "report: "  # what `make repro` says when DVC is done


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    report = Report(given.output.resolve(), processor())
    subprocess.run(["git", "clone", "--quiet", ".", given.folder], check=True)
    os.chdir(given.folder)
    subprocess.run(["make", "setup"], check=True)
    before = rate()
    seconds, busy = timed(["make", "repro"])
    report.note("seconds", seconds)
    report.note("processor_seconds", busy)
    report.note("gflops", statistics.mean([before, rate()]))
    study = load_study()
    tokens = needed(study)
    weights = decoder_weights(load_weights(paths.model(study), "float32"))
    report.note("tokens", tokens)
    report.note("weights", weights)
    report.note(
        "needed_gflop",
        {
            stage: 2 * weights * (forward + 2 * through) / 1e9
            for stage, (forward, through) in tokens.items()
        },
    )


def timed(command: Sequence[str]) -> tuple[dict[str, float], float]:
    """Seconds by stage, all between two among the first's, and processor seconds of it all."""
    before = children_seconds()
    seconds, stage, start = {}, "start", time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            found = STAGE.match(line)
            if found or line.startswith(LAST):
                now = time.perf_counter()
                seconds[stage] = seconds.get(stage, 0) + now - start
                stage, start = found[1] if found else "end", now
    seconds[stage] = time.perf_counter() - start
    if process.returncode:
        raise SystemExit(process.returncode)
    return seconds, children_seconds() - before


def rate() -> float:
    """GFLOP/s at which scoring multiplies tokens with SmolLM2's widest matrix."""
    weight = torch.randn(1536, 576)
    return gflops(lambda tokens: product(tokens, weight), weight)


def needed(study: Study) -> dict[str, tuple[int, int]]:
    """Tokens that each stage has to compute: forward alone, and with a gradient through them."""
    tokenizer, behaviour = load_tokenizer(paths.model(study)), load_behaviour(study.behaviour)

    def asked(prompts: Sequence[str | None], questions: Sequence[Asked]) -> int:
        each = items(tokenizer, prompts, questions, study.model.system_role)
        return sum(shared + sum(rest) for shared, rest in map(needed_tokens, each))

    measured = read_as(paths.personas(study), Participants)
    evaluated = read_as(paths.evaluated(study), Evaluated)
    everyone = by_name(measured.personas) | by_name(evaluated.personas)
    [cell] = study.cells
    names = evaluated_for(cell.source, evaluated.evaluated)
    folder = paths.questions(study)
    train, test = (
        [behaviour.ask(q) for q in read_questions(folder / f"{part}.jsonl")]
        for part in ("train", "evaluate")
    )
    prompts = [everyone[name].prompt for name in measured.measured]
    # a continuation of one token is computed with the prompt's last
    neutral = [Asked(text, text, "", (" yes", " no")) for text in load_neutral(paths.CATALOG)]
    states = asked(prompts, neutral)
    margins = asked(prompts, train[: affordable(QUESTIONS)])
    examples = read_examples(paths.contrast(study, cell) / "examples.jsonl")
    rows = tokenised(examples, tokenizer, study.train.max_length, study.model.system_role)
    size = study.train.batch_size
    batches = batched(rows, size)
    epoch = sum(batches)
    directions = round(epoch / len(batches) * math.ceil(2 * affordable(EXAMPLES) / size))
    scored = asked([everyone[name].prompt for name in names], test)
    return {
        "centroids": (states, 0),
        "predictors": (states, margins + directions),
        "baseline": (scored, 0),
        "train": (0, study.train.epochs * epoch),
        "evaluate": (scored, 0),
    }


def batched(rows: Sequence[dict], size: int) -> list[int]:
    """Tokens of each batch of an epoch, in the order of the training set, without padding."""
    return [
        int((laid_out(rows[start : start + size])["trees"] >= 0).sum())
        for start in range(0, len(rows), size)
    ]


if __name__ == "__main__":
    main()
