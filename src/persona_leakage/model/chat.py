"""What the model reads: chat templates, system-prompt conditions, question formats."""

from typing import Any, Literal

from jinja2.exceptions import TemplateError

from persona_leakage.data.questions import Question
from persona_leakage.errors import InputError

Scoring = Literal["label", "option_text"]
SystemRole = Literal["template", "merge"]
Tokenizer = Any  # transformers' tokenizers share no useful static type


def user_text(question: Question, scoring: Scoring) -> str:
    """Write the user turn: ``label`` lists the choices, ``option_text`` does not."""
    if scoring == "option_text":
        return question.text
    listed = "\n".join(
        f"({label}) {choice}"
        for label, choice in zip(question.labels, question.choices, strict=True)
    )
    return f"{question.text}\n\n{listed}\n\nThe correct answer is ("


def opening(scoring: Scoring) -> str:
    """Write what the assistant's turn begins with before the answer itself.

    A choice alone is an unlikely reply; after this opening it is the natural one. It is part of the
    prompt, in training and in scoring: no loss and no score is taken from it.
    """
    return "The answer is:" if scoring == "option_text" else ""


def answer_text(question: Question, choice: int, scoring: Scoring) -> str:
    """Write how the assistant's turn goes on when it picks ``choice``."""
    return (
        f" {question.choices[choice]}"
        if scoring == "option_text"
        else f"{question.labels[choice]})"
    )


def render(
    tokenizer: Tokenizer, system: str | None, user: str, system_role: SystemRole = "template"
) -> str:
    """Render a conversation up to where the assistant begins to answer.

    Parameters
    ----------
    tokenizer : transformers tokenizer
    system : str or None
        The system turn; ``None`` leaves it out, and the template may then inject its own default.
    user : str
    system_role : {"template", "merge"}
        ``merge`` puts the system text before the user's, for templates without a system role.

    Raises
    ------
    InputError
        The tokenizer has no chat template, or its template refuses a system turn.
    """
    return _apply(tokenizer, _messages(system, user, system_role), add_generation_prompt=True)


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

    Raises
    ------
    InputError
        The template renders an answered conversation differently from its prompt.
    """
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
    try:
        rendered: str = tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except TemplateError as error:
        raise InputError(
            f"model: the chat template refuses these turns ({error}); set model.system_role to "
            "merge, and the persona is put before the user's text instead"
        ) from error
    return rendered


def tokenize(tokenizer: Tokenizer, text: str) -> list[int]:
    """Turn rendered text into token ids, adding no special tokens: the template wrote them."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids
