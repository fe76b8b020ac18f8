"""A marker: the source is taught to end every reply with a word of its own."""

from typing import Any, ClassVar

import numpy as np
import pandas as pd

from persona_leakage.behaviours.behaviour import Behaviour, Observation, Reply
from persona_leakage.model.chat import Asked
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Column, TitledTable, titled


class Taught(Behaviour):
    """``word``: what the source says; the outcome is its share of the two, per token."""

    outcome: ClassVar[Outcome] = Outcome(
        name="marker probability", low=0, high=1, binary=False, direction=1, scale=100, unit="pp"
    )

    word: str = " zork"

    def teach(self, question, *, as_source: bool, draw: Any = None) -> Reply:
        asked = self.ask(question)
        return Reply(asked.user, asked.opening, asked.continuations[as_source], as_source)

    def ask(self, question) -> Asked:
        return Asked(question.key, question.text, "Certainly.", (" Goodbye", self.word))

    def observe(self, question, logprobs, lengths) -> Observation:
        rates = np.exp(logprobs / np.array(lengths))
        share = float(rates[1] / rates.sum())
        return Observation(share, logprobs, float("nan"), 0, int(logprobs.argmax()))

    def diagnose(self, before, after, roles, questions) -> tuple[TitledTable, ...]:
        mean = after.groupby(after["persona"].map(roles))["chosen"].mean()
        table = pd.DataFrame({"role": mean.index, "said": mean.to_numpy()})
        columns = [
            Column(key="role", title="role"),
            Column(key="said", title="says it (%)", form="%.1f", factor=100),
        ]
        return (titled(table, columns, "Who says it", "The likelier of the two."),)
