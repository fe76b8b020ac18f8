"""Scoring on all GPUs of a host against one of them, with random weights of the 7B shape.

    python benchmarks/several_gpus.py SNAPSHOT OUTPUT.json [--personas 111]

SNAPSHOT is a folder laid out like the hub's allenai/ai2_arc. Both sides make their models anew in
every round; seconds are of the scoring, and with the start of its processes and models.
"""

import argparse
import time
from itertools import chain
from pathlib import Path

import numpy as np
import torch
from full_size import make_base, material
from measuring import ROUNDS, Report, alternate, row
from transformers.utils import is_liger_kernel_available

from persona_leakage.model.kernels import fused
from persona_leakage.model.processes import devices, scorer
from persona_leakage.model.scoring import items


def make_fused():
    """Make the model that scores, on the current GPU."""
    return fused(make_base())


def main():
    """Run everything and write the numbers."""
    parser = argparse.ArgumentParser()
    parser.add_argument("snapshot")
    parser.add_argument("output", type=Path)
    parser.add_argument("--personas", type=int, default=111)
    given = parser.parse_args()
    made_of = material(given.snapshot)
    study, asked, tokenizer = made_of.study, made_of.asked, made_of.tokenizer
    personas = list(made_of.personas.values())[: given.personas]
    systems = [persona.prompt for persona in personas]
    report = Report(
        given.output,
        {
            "gpu": torch.cuda.get_device_name(),
            "gpus": len(devices()),
            "torch": torch.__version__,
            "liger": is_liger_kernel_available(),
        },
    )
    logprobs, scoring = {}, {"all": [], "one": []}

    def scored(name, on):
        with scorer(make_fused, on) as score:
            start = time.perf_counter()
            everyone = items(tokenizer, systems, asked, study.model.system_role)
            logprobs[name] = list(score(everyone, lambda count: None))
            scoring[name].append(time.perf_counter() - start)
        torch.cuda.empty_cache()

    works = {"all": lambda: scored("all", devices()), "one": lambda: scored("one", devices()[:1])}
    whole = alternate(works, ROUNDS)
    one, every = (np.concatenate([*chain(*logprobs[name])]) for name in ("one", "all"))
    report.note(
        "scoring",
        {
            "personas": len(personas),
            "questions": len(asked),
            "identical": bool((one == every).all()),
            "alone": row(scoring, "all", "one"),
            "with_start": row(whole, "all", "one"),
        },
    )


if __name__ == "__main__":
    main()
