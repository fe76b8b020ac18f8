"""Token ids of a prompt and of what follows it: those of the whole text, for every tokenizer.

Continuations are never tokenised on their own: a sentencepiece or unigram tokenizer would begin
each with a space mark, and one without pre-tokenisation may join its first letter with the prompt's
last. The *border* lies where the ids of the prompt and of the whole text part; what a tokenizer
joins across the prompt's end counts to the continuation. Training and scoring share this rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from persona_leakage.errors import InputError
from persona_leakage.model.chat import Asked, Tokenizer
from persona_leakage.model.shared_prefix import alike

TAIL = 16  # tokens at a prompt's end that decide how its continuations are tokenised


def tokenize(tokenizer: Tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """Turn rendered texts into token ids, adding no special tokens: the template wrote them.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    texts : sequence of str
        Rendered conversations.
    """
    if not texts:
        return []
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids


def split(
    tokenizer: Tokenizer, prompts: Sequence[str], completions: Sequence[str]
) -> list[tuple[list[int], list[int]]]:
    """Tokenise each prompt with its completion, and part the ids at the border.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    prompts, completions : sequence of str
        Of equal length.
    """
    pairs = list(zip(prompts, completions, strict=True))
    wholes = tokenize(tokenizer, [prompt + completion for prompt, completion in pairs])
    borders = [
        alike(prompt, whole)
        for prompt, whole in zip(tokenize(tokenizer, prompts), wholes, strict=True)
    ]
    return [(ids[:border], ids[border:]) for ids, border in zip(wholes, borders, strict=True)]


@dataclass(frozen=True)
class Continued:
    """How the continuations of a question are tokenised behind any prompt with this ending.

    Attributes
    ----------
    tail : list of int
        The last tokens of the prompt alone.
    dropped : int
        Those of them that give way to what is tokenised together with the continuations.
    continuations : list of list of int
        Token ids of each, from the border on.
    """

    tail: list[int]
    dropped: int
    continuations: list[list[int]]

    def follows(self, prompt: list[int]) -> bool:
        """Whether a prompt ends as the prompt behind which these ids were read.

        Parameters
        ----------
        prompt : list of int
            Token ids of the prompt alone.
        """
        return prompt[-TAIL:] == self.tail

    def before(self, prompt: list[int]) -> list[int]:
        """Return a prompt's ids up to the border.

        Parameters
        ----------
        prompt : list of int
            Token ids of the prompt alone.
        """
        return prompt[: len(prompt) - self.dropped]


def continued(
    tokenizer: Tokenizer, prompts: Sequence[str], questions: Sequence[Asked]
) -> list[Continued]:
    """Find the border and the continuations' ids behind each question's prompt.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    prompts : sequence of str
        Rendered, with the question's opening.
    questions : sequence of Asked
        In the order of the prompts.

    Raises
    ------
    InputError
        The continuations of a question cannot be told apart by their tokens; names the question.
    """
    alone = tokenize(tokenizer, prompts)
    pairs = list(zip(prompts, questions, strict=True))
    wholes = iter(
        tokenize(
            tokenizer,
            [prompt + text for prompt, question in pairs for text in question.continuations],
        )
    )
    # where nothing ends the continuations, these are the same texts: not tokenised again
    ended = iter(
        tokenize(
            tokenizer,
            [
                prompt + text + question.ending
                for prompt, question in pairs
                if question.ending
                for text in question.continuations
            ],
        )
    )
    results = []
    for prompt, question in zip(alone, questions, strict=True):
        ids = [next(wholes) for _ in question.continuations]
        if question.ending:
            for text, whole in zip(question.continuations, ids, strict=True):
                if next(ended)[: len(whole)] != whole:
                    raise InputError(
                        f"question {question.key}: the tokenizer joins {text!r} with the "
                        f"{question.ending!r} after it, so its probability cannot be read; use "
                        "option_text scoring"
                    )
        border = min(alike(prompt, whole) for whole in ids)
        if border == 0:
            raise InputError(
                f"question {question.key}: its prompt has no token that its continuations leave "
                "as it is; use a tokenizer that splits words"
            )
        parts = [whole[border:] for whole in ids]
        _tell_apart(question, parts)
        results.append(Continued(prompt[-TAIL:], len(prompt) - border, parts))
    return results


def _tell_apart(question: Asked, parts: Sequence[list[int]]) -> None:
    """Refuse continuations without tokens, and different ones whose tokens do not differ enough."""
    pairs = list(zip(question.continuations, parts, strict=True))
    for text, ids in pairs:
        if not ids:
            raise InputError(f"question {question.key}: the tokenizer has no token for {text!r}")
        for other, theirs in pairs:
            if other == text:
                continue
            if theirs == ids:
                raise InputError(
                    f"question {question.key}: {text!r} and {other!r} are the same tokens, so they "
                    "cannot be told apart; drop the question or use another model"
                )
            if question.ending and theirs[: len(ids)] == ids:
                raise InputError(
                    f"question {question.key}: the tokens of the label {text!r} begin those of "
                    f"{other!r}; relabel its choices or use option_text scoring"
                )
