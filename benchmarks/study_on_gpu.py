"""Cells of a study on one GPU at 1.5 billion parameters: today's code, and an earlier commit's.

    git archive f4618ff src catalog studies | tar x -C EARLIER
    python benchmarks/study_on_gpu.py SNAPSHOT OUTPUT.json --earlier EARLIER [--personas 40]

f4618ff is the last commit before the steps were recorded; what it scores with, a budget of tokens
per pass, is its own rule's and the 2,048 of the commits before it. SNAPSHOT is a folder laid out
like the hub's allenai/ai2_arc. A cell is trained whole; of its personas some are scored, and the
seconds of WANTED follow from those of the later half of them, each the same work. Weights are
random, made on the GPU in the place of those that a stage would load. DVC runs a process a stage.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measuring import Report

WANTED = 200  # personas of a cell
CELLS = 15  # of a study
SOURCES = ("villain", "comedian", "librarian")


def main():
    """Read the arguments and run."""
    parser = argparse.ArgumentParser()
    parser.add_argument("snapshot", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--earlier", type=Path, help="folder with another commit's src")
    parser.add_argument("--personas", type=int, default=40)
    parser.add_argument("--part", nargs="*", help="of a process: what it does (train, score)")
    parser.add_argument("--since", type=float, help="when the process was started")
    parser.add_argument("--budget", type=int, help="tokens per pass")
    parser.add_argument("--sources", nargs="*", default=SOURCES[:1])
    given = parser.parse_args()
    if given.part:
        compute(given)
    else:
        measure(given)


def measure(given):
    """Run cells in processes, one way after the other, and write what they took."""
    from full_size import machine

    report = Report(given.output, machine() | {"personas": given.personas, "wanted": WANTED})
    early, ours = given.earlier.resolve(), Path.cwd()

    def note(name, parts):
        report.note(name, {"processes": parts, "cell": sum(map(seconds, parts))})

    trained = run(given, early, "train")  # whatever it scores with
    note("earlier, 2,048 tokens a pass", [*trained, *run(given, early, "score", budget=2048)])
    note("earlier", [*trained, *run(given, early, "score")])
    note("a process a stage", [*run(given, ours, "train"), *run(given, ours, "score")])
    whole = run(given, ours, "train", "score", sources=SOURCES[:2])
    report.note(
        "one process for all cells",
        # that it starts is shared by the cells of a study
        {"processes": whole, "cell": whole[0]["start"] / CELLS + (seconds(whole[0], 0)) / 2},
    )
    beside = run(given, ours, "train", "score", beside=len(SOURCES))
    report.note(
        f"{len(SOURCES)} processes side by side",
        {"processes": beside, "cell": max(map(seconds, beside)) / len(SOURCES)},
    )


def seconds(process, start=1):
    """Add up a process's seconds, those of scoring as of all personas wanted."""
    more = process["later"] * (WANTED / process["personas"] - 1) * 2
    return process["start"] * start + process["train"] + process["score"] + more


def run(given, code, *parts, budget=None, sources=SOURCES[:1], beside=1):
    """Run processes side by side, each a source further; return what each says."""
    command = [sys.executable, __file__, given.snapshot.resolve(), "-", "--part", *parts]
    command += ["--personas", given.personas, *(["--budget", budget] if budget else [])]
    python = [str(code / "src"), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    started = []
    for number in range(beside):
        chosen = SOURCES[number : number + 1] if beside > 1 else sources
        words = [*command, "--since", time.time(), "--sources", *chosen]
        started.append(
            subprocess.Popen(
                [str(word) for word in words],
                cwd=code,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(python)},
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit("\n".join(outputs))
    return [json.loads(output.splitlines()[-1]) for output in outputs]


def compute(given):
    """Do a process's part, and print its seconds."""
    import torch
    from full_size import make_base, material

    from persona_leakage.model import scoring
    from persona_leakage.model.kernels import fused
    from persona_leakage.study.cell import Cell
    from persona_leakage.training import trainer as training
    from persona_leakage.training.contrast import build

    if given.budget:
        scoring.token_budget = lambda model: given.budget
    made_of = material(str(given.snapshot))
    study, personas, tokenizer = made_of.study, made_of.personas, made_of.tokenizer
    spent = {"start": 0.0, "train": 0.0, "score": 0.0, "later": 0.0, "personas": given.personas}
    clock = [given.since]

    def lap(name):
        torch.cuda.synchronize()
        spent[name] += time.time() - clock[0]
        clock[0] = time.time()

    for source in given.sources:
        if "train" in given.part:
            base = make_base("1.5B")
            lap("start")
            cell = Cell(source, 42, "contrastive")
            examples = build(study.contrast, cell, personas, made_of.taught, made_of.behaviour)
            role, length = study.model.system_role, study.train.max_length
            data = training.dataset(examples, tokenizer, length, role)
            model = training.adapted(base, study.train)
            with tempfile.TemporaryDirectory() as scratch:
                trainer = training.trainer_of(
                    model, tokenizer, data, study.train, cell.seed, "bfloat16", scratch
                )
                trainer.train()
            spent["steps"] = trainer.state.global_step
            losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
            spent["last_losses"] = statistics.mean(losses[-10:])
            lap("train")
            del base, model, trainer
        if "score" in given.part:
            base = fused(make_base("1.5B"))
            lap("start")
            systems = [persona.prompt for persona in list(personas.values())[: given.personas]]
            everyone = scoring.items(tokenizer, systems, made_of.asked, study.model.system_role)
            if hasattr(scoring, "logprobs_of_each"):
                scored = scoring.logprobs_of_each(base, everyone)
            else:
                scored = (scoring.continuation_logprobs(base, items) for items in everyone)
            for number, _ in enumerate(scored, start=1):
                if number == given.personas // 2:
                    half = time.time()
            spent["later"] += time.time() - half
            lap("score")
            del base
    print(json.dumps(spent))


if __name__ == "__main__":
    main()
