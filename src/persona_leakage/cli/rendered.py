"""What the model reads of a conversation, and which of its tokens carry the loss."""

from dataclasses import dataclass

from persona_leakage.behaviours.behaviour import Reply
from persona_leakage.errors import InputError
from persona_leakage.model.chat import SystemRole, Tokenizer, render_completion
from persona_leakage.model.tokens import split


@dataclass(frozen=True)
class Rendered:
    """A training conversation as text.

    Attributes
    ----------
    prompt : str
        Up to the first token that carries loss.
    completion : tuple of str
        The tokens that do, as text.
    tokens : int
        Of all.
    """

    prompt: str
    completion: tuple[str, ...]
    tokens: int


def rendered(
    tokenizer: Tokenizer, system: str | None, reply: Reply, system_role: SystemRole
) -> Rendered:
    """Render a conversation as training does: see ``trainer.dataset``.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    system : str or None
        The persona's system turn.
    reply : Reply
        Of a behaviour's ``teach``.
    system_role : {"template", "merge"}
        See ``chat.render``.

    Raises
    ------
    InputError
        The text cannot be rendered, or the tokenizer does not say where its tokens are in it.
    """
    prompt, completion = render_completion(
        tokenizer, system, reply.user, reply.opening, reply.answer, system_role
    )
    [(before, after)] = split(tokenizer, [prompt], [completion])
    text = prompt + completion
    if not tokenizer.is_fast:
        raise InputError(
            "model: its tokenizer is one of transformers' slow ones, which do not say where in the "
            "text a token is; choose a model with a tokenizer.json"
        )
    places = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = places["offset_mapping"][len(before) :]
    # from one token's start to the next one's: spaces belong to some token, too
    starts = [start for start, _ in spans]
    ends = [*starts[1:], len(text)]
    return Rendered(
        text[: starts[0]],
        tuple(text[start:end] for start, end in zip(starts, ends, strict=True)),
        len(before) + len(after),
    )
