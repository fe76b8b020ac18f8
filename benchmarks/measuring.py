"""How the benchmarks measure: sides in turn, peaks in processes of their own, growth by a fit."""

import argparse
import json
import multiprocessing
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persona_leakage.model.scoring import Item
from persona_leakage.model.shared_prefix import common_prefix

ROUNDS = 3
TOKENS = 768  # of a forward pass on a processor


class Report(dict[str, Any]):
    """Named measurements, written to a JSON file as they come; begins with the machine."""

    def __init__(self, output: Path, machine: dict[str, Any]):
        super().__init__()
        self.output = output
        self.note("machine", machine)

    def note(self, key: str, value: Any) -> None:
        """Keep a measurement and show it."""
        self[key] = value
        self.output.parent.mkdir(parents=True, exist_ok=True)
        self.output.write_text(json.dumps(self, indent=1) + "\n")
        print(key, json.dumps(value), file=sys.stderr, flush=True)


def in_environment(python: str, words: Sequence[Any], **more: Any) -> None:
    """Run a script with the interpreter of another environment, which looks nothing up online."""
    settings = {"HF_HUB_OFFLINE": "1", "UNSLOTH_DISABLE_STATISTICS": "1", "DO_NOT_TRACK": "1"}
    settings["VLLM_USE_FLASHINFER_SAMPLER"] = "0"  # which is compiled at a start; nothing is drawn
    own = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [python, *(str(word) for word in words)]
    subprocess.run(command, check=True, env=own | settings, **more)


def parse_arguments() -> argparse.Namespace:
    """Read the arguments of the processor's benchmarks."""
    parser = argparse.ArgumentParser()
    parser.add_argument("model", help="folder of the base model of `make repro`")
    parser.add_argument("output", type=Path)
    parser.add_argument("--arc", help="snapshot of allenai/ai2_arc; else the everyday questions")
    return parser.parse_args()


def processor() -> dict[str, Any]:
    """Describe this machine's processor."""
    can = torch.cpu.get_capabilities()
    vectors = [name for name in ("avx512_bf16", "avx512_f", "avx2") if can.get(name)]
    return {
        "processor": can.get("cpu_name", platform.processor()),
        "vectors": vectors[0] if vectors else platform.machine(),
        "cores": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def alternate(works: dict[str, Callable[[], Any]], rounds: int) -> dict[str, list[float]]:
    """Time several pieces of work in turn, ``rounds`` times; seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def row(seconds: dict[str, list[float]], ours: str, baseline: str) -> dict[str, Any]:
    """Medians of both sides and their ratio."""
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "seconds": medians,
        "rounds": seconds,
        "ratio": medians[baseline] / medians[ours],
    }


def peak(work: Callable[..., Any], *arguments: Any) -> float:
    """Peak resident memory, MiB, of a piece of work in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (work, arguments))


def _measured(work: Callable[..., Any], arguments: tuple[Any, ...]) -> float:
    work(*arguments)
    # not getrusage, whose peak a process inherits from the one that started it
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024


def needed_tokens(items: Sequence[Item]) -> tuple[int, list[int]]:
    """Tokens that any way of scoring computes: what all prompts begin with, and each one's rest."""
    shared = common_prefix([item.prompt for item in items])
    return shared, [
        len(item.prompt) - shared + sum(len(ids) - 1 for ids in item.continuations)
        for item in items
    ]


def decoder_weights(model: Any) -> int:
    """Weights of the decoder's matrices: a token that is computed needs two FLOPs for each."""
    decoder = model.get_decoder()
    return sum(p.numel() for name, p in decoder.named_parameters() if name.endswith("proj.weight"))


def gflops(multiply: Callable[[torch.Tensor], Any], weight: torch.Tensor) -> float:
    """GFLOP/s at which ``TOKENS`` tokens are multiplied with a matrix; median of five rounds."""
    tokens = torch.randn(TOKENS, weight.shape[1]).to(weight.dtype)
    with torch.inference_mode():
        seconds = alternate({"x": lambda: [multiply(tokens) for _ in range(50)]}, 5)["x"]
    return 2 * TOKENS * weight.numel() * 50 / statistics.median(seconds) / 1e9


def children_seconds() -> float:
    """Processor seconds, user and system, of all processes that this one started and that ended."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime


def growth(
    work: Callable[[int], Any], sizes: Sequence[int], rounds: int = ROUNDS
) -> dict[str, Any]:
    """Seconds over sizes, and the slope of their logarithms: 1 is linear."""
    work(sizes[0])
    seconds = [
        statistics.median(alternate({"x": lambda n=size: work(n)}, rounds)["x"]) for size in sizes
    ]
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
