"""Where scoring runs: in this process on one device, in a process for each of several.

Threads of one process would share the interpreter, which is busy launching kernels.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from itertools import cycle
from multiprocessing import get_context
from typing import Any

import numpy as np
import torch

from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.loading import device
from persona_leakage.model.scoring import Item, continuation_logprobs, logprobs_of_each

# personas, each as its items; what to call with the number of every few questions scored
Score = Callable[[Iterable[Sequence[Item]], Callable[[int], Any]], Iterator[list[np.ndarray]]]
_resident: CausalLM  # in a process that has a device to itself


def devices() -> list[torch.device]:
    """Every accelerator that torch sees, else the processor."""
    one = device()
    if one.type == "cpu":
        return [one]
    return [torch.device(one.type, index) for index in range(torch.accelerator.device_count())]


@contextmanager
def scorer(load: Callable[[], CausalLM], on: Sequence[torch.device]) -> Iterator[Score]:
    """Load a model on each device; yield what scores personas there, in their order.

    With several devices persona after persona goes to the next, so that the scores are those of
    one device, whatever their number.

    Parameters
    ----------
    load : callable
        Loads the model onto the current device. Pickled, when there are several.
    on : sequence of torch.device
        Of ``devices``.
    """
    if len(on) == 1:
        model = load()
        yield lambda everyone, advance: logprobs_of_each(model, everyone, advance)
        return
    with ExitStack() as stack:
        pools = [stack.enter_context(ProcessPoolExecutor(1, get_context("spawn"))) for _ in on]

        def score(
            everyone: Iterable[Sequence[Item]], advance: Callable[[int], Any]
        ) -> Iterator[list[np.ndarray]]:
            dealt = zip(cycle(pools), everyone)
            for scored in [pool.submit(_score, made) for pool, made in dealt]:
                scores = scored.result()
                advance(len(scores))
                yield scores

        try:
            started = [pool.submit(_settle, load, one) for pool, one in zip(pools, on, strict=True)]
            for loaded in started:
                loaded.result()
            yield score
        finally:
            for pool in pools:
                pool.shutdown(wait=False, cancel_futures=True)


def _settle(load: Callable[[], CausalLM], on: torch.device) -> None:
    global _resident
    if on.type != "cpu":
        torch.accelerator.set_device_index(on)
    _resident = load()


def _score(made: Sequence[Item]) -> list[np.ndarray]:
    return continuation_logprobs(_resident, made)
