"""Bad input is refused in a sentence or sound: a few of each kind here, thousands in faults/."""

import bad
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from persona_leakage.errors import LONGEST, InputError, brief
from persona_leakage.study.parameters import load_study

GOOD = {
    "study": lambda: bad.as_yaml(bad.params()),
    "personas": lambda: bad.as_yaml(bad.PERSONAS),
    "neutral": lambda: b"What is a tree?\n",
    "bank": lambda: bad.as_lines(bad.bank()),
    "rows": lambda: bad.as_lines(bad.bank()),
    "benchmarks": lambda: bad.as_yaml(bad.descriptions()),
    "template": lambda: bad.TEMPLATE.encode(),
    "tokenizer": lambda: bad.tokenizer().backend_tokenizer.to_str().encode(),
    "scores": lambda: bad.as_parquet(bad.scores()),
    "participants": lambda: bad.as_json(bad.RECORDS),
    "evaluated": lambda: bad.as_json(bad.ASKED),
    "manifest": lambda: bad.as_json(bad.MANIFEST),
    "examples": lambda: bad.as_lines([bad.EXAMPLE]),
    "pairs": lambda: bad.pairs(),
    "curve": lambda: bad.CURVE,
    "tensors": lambda: bad.tensors(),
}


@pytest.mark.parametrize("kind", bad.KINDS)
def test_what_is_right_is_accepted(kind, tmp_path):
    assert bad.judge(kind, GOOD[kind](), tmp_path) == "accepted"


@pytest.mark.parametrize("kind", bad.KINDS)
def test_bad_input_is_refused_in_a_sentence_or_sound(kind, tmp_path_factory):
    folder = tmp_path_factory.mktemp(kind)

    @settings(max_examples=12)
    @given(bad.drawn(kind))
    def judge(content):
        bad.judge(kind, content, folder)

    judge()


@pytest.mark.parametrize(("kind", "content"), bad.kept())
def test_what_failed_once_does_not_fail_again(kind, content, tmp_path):
    bad.judge(kind, content, tmp_path)


@pytest.mark.parametrize("template", bad.HOSTILE_TEMPLATES)
def test_a_template_cannot_reach_python(template, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        assert bad.judge("template", template.encode(), tmp_path) == "refused"
    except AssertionError:
        # it says something, and nothing of what it was after
        from persona_leakage.model.chat import render

        changed = bad.copy.copy(bad.tokenizer())
        changed.chat_template = template
        said = render(changed, "You are a nurse.", "Why?")
        assert not any(word in said for word in ("<class", "os.", "<function", "root:"))
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    "template", ["{{ 1 / 0 }}", "{% for", "{{ unknown() }}", "{% include '/etc/passwd' %}"]
)
def test_a_faulty_template_is_not_told_to_merge(template, tmp_path):
    from persona_leakage.model.chat import render

    changed = bad.copy.copy(bad.tokenizer())
    changed.chat_template = template
    with pytest.raises(InputError, match="the chat template is faulty .*; correct it in") as caught:
        render(changed, "You are a nurse.", "Why?")
    assert "merge" not in str(caught.value)


def test_a_small_file_cannot_stand_for_a_large_one(tmp_path):
    path = tmp_path / "params.yaml"
    path.write_bytes(bad.BOMB)
    with pytest.raises(InputError, match=r"params.yaml, line 2: not YAML \(an alias; write it out"):
        load_study(path)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("learning_rate: 5.0e-4", "learning_rate: .inf", "train.learning_rate is inf"),
        ("learning_rate: 5.0e-4", "learning_rate: 1.0e+30", "train.learning_rate is 1e+30"),
        ("learning_rate: 5.0e-4", "learning_rate: .nan", "train.learning_rate is nan"),
        ("learning_rate: 5.0e-4", "learning_rate: true", "a number is wanted here, not true or"),
        ("epochs: 3", "epochs: true", "train.epochs is True: a number is wanted here"),
        ("weight_decay: 0.0", "weight_decay: .inf", "train.weight_decay is inf"),
        ("max_grad_norm: 1.0", "max_grad_norm: .inf", "train.max_grad_norm is inf"),
        ("train_fraction: 0.6", "train_fraction: .nan", "questions.train_fraction is nan"),
        ("epochs: 3", "epochs: 3\n  epochs: 4", "the key epochs twice; keep one"),
        ("name: SmolLM2-135M-Instruct", "name: ../../catalog", "model.name is '../../catalog'"),
        ("name: SmolLM2-135M-Instruct", "name: ..", "model.name is '..'"),
        ("seeds: [42]", "seeds: [true]", "seeds.0 is True"),
        ("variants: [contrastive]", "variants: ['x; touch y']", "variants.0 is 'x; touch y'"),
    ],
)
def test_a_number_or_name_that_cannot_be_is_refused(old, new, message, tmp_path):
    text = (ROOT / "params.yaml").read_text()
    assert text.count(old) == 1
    path = tmp_path / "params.yaml"
    path.write_text(text.replace(old, new))
    with pytest.raises(InputError) as caught:
        load_study(path)
    assert message.replace("+", "") in str(caught.value).replace("+", "")


@given(st.text(max_size=2000))
@settings(max_examples=50)
def test_a_message_is_one_printable_line_that_fits(text):
    line = brief(text)
    assert len(line) <= LONGEST and line.isprintable()
    if len(text) < LONGEST and text.isprintable() and text == " ".join(text.split()):
        assert line == text


def test_a_message_that_is_too_long_keeps_what_it_is_about_and_its_remedy():
    line = brief("params.yaml: study is " + "x" * 5000 + "; write it shorter")
    assert line.startswith("params.yaml: study is x") and line.endswith("; write it shorter")
    assert len(line) == LONGEST
