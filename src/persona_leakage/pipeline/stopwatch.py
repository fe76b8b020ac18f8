"""How long the parts of a stage take, and how many tokens a second."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stopwatch:
    """Seconds and tokens of the parts of a stage: the profile of a cell."""

    parts: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def time(self, part: str) -> Iterator[None]:
        """Time a block.

        Parameters
        ----------
        part : str
            What it does.
        """
        start = time.perf_counter()
        yield
        self.parts[f"profile/{part}_seconds"] = time.perf_counter() - start

    def rate(self, part: str, tokens: int) -> None:
        """Add the tokens per second of a part that has been timed.

        Parameters
        ----------
        part : str
            As in ``time``.
        tokens : int
            How many it took.
        """
        seconds = self.parts[f"profile/{part}_seconds"]
        self.parts[f"profile/{part}_tokens_per_second"] = tokens / seconds
