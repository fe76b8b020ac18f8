"""A clock for transformers' trainers, which needs nothing but them."""

import time

import torch
from transformers import TrainerCallback

FIRST = 3  # steps that are not timed


class Clock(TrainerCallback):
    """Notes when each step ended; ends the training after ``steps`` of them, if that is given."""

    def __init__(self, steps=None):
        self.steps = steps
        self.seconds = []

    def on_step_end(self, args, state, control, **more):
        """Note the time, once the GPU is done."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter())
        if state.global_step == self.steps:
            control.should_training_stop = True

    def per_step(self, first=FIRST):
        """Mean seconds of a step, but for the ``first`` ones."""
        return (self.seconds[-1] - self.seconds[first]) / (len(self.seconds) - 1 - first)
