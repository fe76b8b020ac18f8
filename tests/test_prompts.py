import pytest
from conftest import make_tokenizer

from persona_leakage.errors import InputError
from persona_leakage.model.chat import render, render_completion

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
