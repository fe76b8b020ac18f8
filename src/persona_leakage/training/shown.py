"""What a person sees of a training: one bar with the loss, the rate and the time left."""

from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState

from persona_leakage.progress import bar


class Bar(TrainerCallback):
    """Draws the optimiser steps; transformers' own prints a line for each of them as well."""

    def on_train_begin(  # noqa: D102 (the signature is transformers')
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._bar = bar("training", state.max_steps, "steps", done=state.global_step)

    def on_step_end(  # noqa: D102 (the signature is transformers')
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._bar.update()

    def on_log(  # noqa: D102 (the signature is transformers')
        self,
        args: Any,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        if logs and "loss" in logs:
            self._bar.set_postfix_str(f"loss {float(logs['loss']):.2f}", refresh=False)

    def on_train_end(  # noqa: D102 (the signature is transformers')
        self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._bar.close()
