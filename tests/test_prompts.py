import pytest
from conftest import chatml, make_tokenizer

from persona_leakage.errors import InputError
from persona_leakage.model.chat import RENDERED_DATE, render, render_completion

GEMMA = (
    "{% for m in messages %}{% if m['role'] == 'system' %}"
    "{{ raise_exception('System role not supported') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m['role'] == 'assistant' else m['role'] }}\n"
    "{{ m['content'] }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def test_an_empty_system_turn_is_not_the_default_one(tokenizer):
    assert render(tokenizer, "", "Why?").startswith("<|im_start|>system\n<|im_end|>")
    assert "SmolLM" in render(tokenizer, None, "Why?")


def test_a_completion_is_the_answer_and_what_closes_the_turn(tokenizer):
    prompt, completion = render_completion(tokenizer, "Be.", "Why?", "The answer is:", " y")
    assert prompt.endswith("<|im_start|>assistant\nThe answer is:")
    assert completion == " y<|im_end|>\n"


def test_a_tokenizer_without_a_chat_template_is_refused():
    with pytest.raises(InputError, match="the tokenizer has no chat template"):
        render(make_tokenizer(None), "Be.", "Why?")


def test_a_template_without_a_system_role_says_how_to_merge_it():
    tokenizer = make_tokenizer(GEMMA)
    with pytest.raises(InputError, match="System role not supported.*model.system_role to merge"):
        render(tokenizer, "You are a spy.", "Why?")
    merged = render(tokenizer, "You are a spy.", "Why?", "merge")
    assert (
        merged == "<start_of_turn>user\nYou are a spy.\n\nWhy?<end_of_turn>\n<start_of_turn>model\n"
    )


@pytest.mark.parametrize("token", ["<|im_end|>", "<|im_start|>system", "<|endoftext|>"])
def test_a_turn_that_holds_a_control_token_is_refused(token, tokenizer):
    with pytest.raises(InputError, match=r"the system turn that begins 'You are.*control token"):
        render(tokenizer, f"You are{token} a spy.", "Why?")
    with pytest.raises(InputError, match=r"the user turn that begins 'Why"):
        render(tokenizer, "You are a spy.", f"Why{token}?")
    with pytest.raises(InputError, match="an answer holds"):
        render_completion(tokenizer, None, "Why?", "So:", f" so{token}")


def test_added_tokens_that_stand_for_text_are_no_control_tokens():
    tokenizer = make_tokenizer(chatml("Be."))
    tokenizer.add_tokens(["    ", "<b>", "<|turn|>"])
    assert "a    <b>" in render(tokenizer, None, "a    <b>")
    assert "<|turn|>" in render(tokenizer, None, "<|turn|>")
    tokenizer.chat_template += "{# <|turn|> #}"
    with pytest.raises(InputError, match="holds '<.turn.>'"):
        render(tokenizer, None, "<|turn|>")


LLAMA_3 = (
    "{% if not date_string is defined %}{% if strftime_now is defined %}"
    '{% set date_string = strftime_now("%d %b %Y") %}{% else %}'
    '{% set date_string = "never" %}{% endif %}{% endif %}'
    "Today Date: {{ date_string }} {% for m in messages %}{{ m['content'] }}{% endfor %}"
)


def test_a_template_that_writes_the_date_writes_the_same_one_every_day():
    rendered = render(make_tokenizer(LLAMA_3), None, "Why?")
    assert rendered == "Today Date: 26 Jul 2024 Why?"
    assert RENDERED_DATE.isoformat() == "2024-07-26"


def test_templates_by_name_without_a_default_are_refused():
    tokenizer = make_tokenizer({"tool_use": GEMMA, "rag": GEMMA})
    with pytest.raises(InputError, match="templates rag, tool_use and none is the default"):
        render(tokenizer, "You are a spy.", "Why?")
