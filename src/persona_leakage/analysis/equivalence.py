"""Too small to matter, large enough to count, or unknown: the size of a change."""

from typing import Literal

Size = Literal["no leakage", "leaks", "opposite", "inconclusive"]
