"""What the model reads: conversations rendered by its chat template."""

import re
from dataclasses import dataclass
from datetime import date
from functools import lru_cache
from typing import Any, Literal

from jinja2.exceptions import TemplateError

from persona_leakage.errors import InputError

SystemRole = Literal["template", "merge"]
Tokenizer = Any  # transformers' tokenizers share no useful static type

# Today, to every template that writes the date (Llama 3, SmolLM3, gpt-oss): scores do not change
# overnight. It is the date that Llama 3.1's template takes where it is told none.
RENDERED_DATE = date(2024, 7, 26)


@dataclass(frozen=True)
class Asked:
    """A question as the model meets it, and the continuations of its reply to be scored.

    Attributes
    ----------
    key : str
        Names the question in messages.
    user : str
        The user's turn.
    opening : str
        What the assistant's turn begins with: part of the prompt, in training and in scoring.
    continuations : tuple of str
        How the assistant's turn may go on.
    ending : str
        What a reply has behind each continuation; it is not scored.
    """

    key: str
    user: str
    opening: str
    continuations: tuple[str, ...]
    ending: str = ""


def render(
    tokenizer: Tokenizer, system: str | None, user: str, system_role: SystemRole = "template"
) -> str:
    """Render a conversation up to where the assistant begins to answer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    system : str or None
        The system turn; ``None`` leaves it out, and the template may then inject its own default.
    user : str
        The user's turn.
    system_role : {"template", "merge"}
        ``merge`` puts the system text before the user's, for templates without a system role.

    Raises
    ------
    InputError
        The tokenizer has no chat template, its template refuses a system turn, or a turn's text
        holds a control token.
    """
    return _apply(tokenizer, _messages(system, user, system_role), add_generation_prompt=True)


def rendered_system(tokenizer: Tokenizer, system: str | None, system_role: SystemRole) -> str:
    """Return what the template really writes for a system turn, up to the user's text.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    system : str or None
        The system turn; ``None`` leaves it out.
    system_role : {"template", "merge"}
        See ``render``.
    """
    mark = "@@user@@"
    return render(tokenizer, system, mark, system_role).split(mark)[0]


def render_completion(
    tokenizer: Tokenizer,
    system: str | None,
    user: str,
    opening: str,
    answer: str,
    system_role: SystemRole = "template",
) -> tuple[str, str]:
    """Render a conversation with its answer, as (prompt, completion).

    The prompt ends with the opening; the completion is the answer and whatever the template closes
    the turn with.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    system : str or None
        See ``render``.
    user : str
        See ``render``.
    opening, answer : str
        The assistant's turn, in two parts.
    system_role : {"template", "merge"}
        See ``render``.

    Raises
    ------
    InputError
        The template renders an answered conversation differently from its prompt, or a turn's text
        holds a control token.
    """
    refuse_control_tokens(tokenizer, opening + answer, "an answer")
    prompt = render(tokenizer, system, user, system_role) + opening
    turn = {"role": "assistant", "content": opening + answer}
    messages = [*_messages(system, user, system_role), turn]
    whole = _apply(tokenizer, messages, add_generation_prompt=False)
    if not whole.startswith(prompt + answer):
        raise InputError(
            "model: the chat template renders an answered conversation differently from the "
            "prompt that it answers, so that no completion can be told apart; use another template"
        )
    return prompt, whole.removeprefix(prompt)


def refuse_control_tokens(tokenizer: Tokenizer, text: str, where: str) -> None:
    """Refuse a text that would leave its turn: the tokenizer makes control tokens of such words.

    Parameters
    ----------
    tokenizer : transformers tokenizer
        The model's own.
    text : str
        What a persona, a question or a choice says.
    where : str
        Names it in the message.

    Raises
    ------
    InputError
        Names the place and the token.
    """
    pattern = _control_tokens(tokenizer, str(getattr(tokenizer, "chat_template", "")))
    if pattern is not None and (match := pattern.search(text)):
        raise InputError(
            f"{where} holds {match[0]!r}, which the tokenizer reads as a control token: the text "
            "would leave its turn; write it differently"
        )


@lru_cache(maxsize=2)
def _control_tokens(tokenizer: Tokenizer, template: str) -> re.Pattern[str] | None:
    """Match the tokenizer's special tokens, and the added ones that its template is written with.

    Other added tokens stand for text: runs of spaces (GPT-NeoX), HTML tags (Gemma).
    """
    added = [
        token.content
        for token in tokenizer.added_tokens_decoder.values()
        if token.special or token.content in template
    ]
    words = sorted((word for word in added if word.strip()), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None


def _messages(system: str | None, user: str, system_role: SystemRole) -> list[dict[str, str]]:
    if system is None:
        return [{"role": "user", "content": user}]
    if system_role == "merge":
        return [{"role": "user", "content": f"{system}\n\n{user}".lstrip("\n")}]
    return [{"role": "system", "content": system}, {"role": "user", "content": user}]


def _apply(
    tokenizer: Tokenizer, messages: list[dict[str, str]], *, add_generation_prompt: bool
) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise InputError(
            "model: the tokenizer has no chat template; personas are system turns of a chat, "
            "so choose an instruction-tuned model"
        )
    if isinstance(templates := tokenizer.chat_template, dict) and "default" not in templates:
        raise InputError(
            f"model: the tokenizer has the chat templates {', '.join(sorted(templates))} and none "
            "is the default; keep the one for plain chats as `default` in its configuration"
        )
    for message in messages:
        # callers that know a name have asked before; here the text has to name itself
        if message["role"] != "assistant":
            text, who = message["content"], message["role"]
            refuse_control_tokens(tokenizer, text, f"the {who} turn that begins {text[:40]!r}")
    try:
        rendered: str = tokenizer.apply_chat_template(
            messages,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            strftime_now=RENDERED_DATE.strftime,  # comes before transformers' own, the clock
        )
    except Exception as error:  # a template is a program: it raises whatever its filters do
        if type(error) is TemplateError:  # what a template says itself, with `raise_exception`
            raise InputError(
                f"model: the chat template refuses these turns ({error}); set model.system_role to "
                "merge, and the persona is put before the user's text instead"
            ) from error
        raise InputError(
            f"model: the chat template is faulty ({type(error).__name__}: {error}); correct it in "
            "the model's folder, or take another model"
        ) from error
    return rendered
