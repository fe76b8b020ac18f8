"""One persona asked one question."""

from dataclasses import dataclass

import numpy as np

from persona_leakage.behaviours.behaviour import Behaviour, Observation
from persona_leakage.data.questions import Question
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.chat import SystemRole, Tokenizer
from persona_leakage.model.scoring import continuation_logprobs, items


@dataclass(frozen=True)
class Answered:
    """What a model makes of a question under a persona.

    Attributes
    ----------
    shares : ndarray of shape (continuations,)
        Probabilities of the labels, where one of them must come; else the share of each
        continuation among all of them, by its score.
    observation : Observation
        What the behaviour reads off it.
    """

    shares: np.ndarray
    observation: Observation


def answered(
    model: CausalLM,
    tokenizer: Tokenizer,
    system: str | None,
    question: Question,
    behaviour: Behaviour,
    system_role: SystemRole,
    context: int | None,
) -> Answered:
    """Score a question under a persona, as ``baseline`` and ``evaluate`` do.

    Parameters
    ----------
    model : CausalLM
        Of ``loading.load_model`` or ``load_adapted``.
    tokenizer : transformers tokenizer
        The model's own.
    system : str or None
        The persona's system turn.
    question : Question
        Of either side of the split.
    behaviour : Behaviour
        Says how it is asked and what a reply is worth.
    system_role : {"template", "merge"}
        See ``chat.render``.
    context : int or None
        Tokens that the model reads at most.
    """
    [[item]] = items(tokenizer, [system], [behaviour.ask(question)], system_role, context)
    [logprobs] = continuation_logprobs(model, [item])
    seen = behaviour.observe(question, logprobs, [len(ids) for ids in item.continuations])
    if np.isfinite(seen.label_mass):
        return Answered(np.exp(logprobs), seen)
    weights = np.exp(seen.scores - seen.scores.max())
    return Answered(weights / weights.sum(), seen)
