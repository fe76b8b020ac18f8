"""A step or a gradient: how the change depends on similarity."""

from typing import Literal

Shape = Literal["none", "step", "gradient", "cannot tell"]
