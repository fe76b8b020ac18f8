"""What a behaviour is: what to teach, what to ask, what an answer is worth.

A behaviour is one module of this package. It defines ``Taught``, a ``Behaviour`` whose fields are
the settings that ``behaviour`` of the parameters may give it. Nothing else in the project knows a
behaviour by name: training reads its replies, scoring its continuations, statistics its outcome.
"""

import importlib
import pkgutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from persona_leakage import behaviours
from persona_leakage.data.questions import Question
from persona_leakage.errors import InputError
from persona_leakage.model.chat import Asked
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.parameters import BehaviourChoice
from persona_leakage.study.results import TitledTable


@dataclass(frozen=True)
class Reply:
    """A conversation to train on.

    Attributes
    ----------
    user, opening, answer : str
        The user's turn, and the assistant's in two parts; only ``answer`` carries loss.
    shows : bool
        Whether the answer shows the behaviour.
    """

    user: str
    opening: str
    answer: str
    shows: bool


@dataclass(frozen=True)
class Observation:
    """What a persona's reply to a question is worth.

    Attributes
    ----------
    outcome : float
        Within the bounds of the behaviour's ``Outcome``.
    scores : ndarray of shape (continuations,), float32
        What it was read off.
    label_mass : float
        Probability of all continuations together, where they are labels of which one must come;
        not a number where they are not.
    answer, chosen : int
        Index of the continuation that does not show the behaviour, and of the one that came.
    """

    outcome: float
    scores: np.ndarray
    label_mass: float
    answer: int
    chosen: int


class Behaviour(BaseModel):
    """A behaviour with its settings; subclasses are what the modules of this package define.

    Attributes
    ----------
    outcome : Outcome
        Of the class: the bounds, direction and unit of what ``observe`` measures.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    outcome: ClassVar[Outcome]

    @abstractmethod
    def teach(self, question: Question, *, as_source: bool, draw: Any = None) -> Reply:
        """Write the reply that a persona is taught.

        Parameters
        ----------
        question : Question
            One to train on.
        as_source : bool
            Whether the source replies, which shows the behaviour, or a negative, which does not.
        draw : object, optional
            Given, the source replies with whatever a draw keyed by it comes to: the control that
            teaches the form of a reply without the behaviour.
        """

    @abstractmethod
    def ask(self, question: Question) -> Asked:
        """Say what a persona is asked, and which continuations of its reply are scored.

        Parameters
        ----------
        question : Question
            Of either side of the split.
        """

    @abstractmethod
    def observe(
        self, question: Question, logprobs: np.ndarray, lengths: Sequence[int]
    ) -> Observation:
        """Say what a reply is worth.

        Parameters
        ----------
        question : Question
            The one that ``ask`` was given.
        logprobs : ndarray of shape (continuations,), float32
            Natural, of ``scoring.continuation_logprobs``, in the order of ``ask``.
        lengths : sequence of int
            Tokens of each continuation.
        """

    @abstractmethod
    def diagnose(
        self,
        before: pd.DataFrame,
        after: pd.DataFrame,
        roles: Mapping[str, str],
        questions: Sequence[Question],
    ) -> tuple[TitledTable, ...]:
        """Tell how the behaviour shows: what a mean of outcomes cannot.

        Parameters
        ----------
        before, after : DataFrame
            Scores of the base model and of the cell.
        roles : mapping
            Role by persona.
        questions : sequence of Question
            Those asked.
        """


def known_behaviours() -> list[str]:
    """Name every behaviour there is: the modules of this package that define one."""
    return [
        module.name
        for module in pkgutil.iter_modules(behaviours.__path__)
        if module.name not in ("behaviour", "evaluation")
    ]


def behaviour_class(name: str) -> type[Behaviour]:
    """Return the class of a behaviour, whose fields are its settings.

    Parameters
    ----------
    name : str
        Of ``known_behaviours``.
    """
    kind: type[Behaviour] = importlib.import_module(f"{behaviours.__name__}.{name}").Taught
    return kind


def load_behaviour(choice: BehaviourChoice) -> Behaviour:
    """Build the behaviour that the parameters choose, with their settings.

    Parameters
    ----------
    choice : BehaviourChoice
        ``behaviour`` of a study.

    Raises
    ------
    InputError
        There is no such behaviour, or it has no such setting or value.
    """
    known = known_behaviours()
    if choice.name not in known:
        raise InputError(
            f"params.yaml: behaviour.name is {choice.name!r}; allowed are {', '.join(known)}, "
            "each a file in src/persona_leakage/behaviours"
        )
    kind = behaviour_class(choice.name)
    try:
        return kind.model_validate(choice.model_extra or {})
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in ("behaviour", *fault["loc"]))
        allowed = ", ".join(kind.model_fields) or "none"
        raise InputError(
            f"params.yaml: {key} is {fault['input']!r}: {fault['msg']}; "
            f"settings of {choice.name} are {allowed}"
        ) from error
