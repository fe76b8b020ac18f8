"""Bad input of every kind, drawn, and what has to become of it: refused in a sentence, or sound.

``tests/test_bad_input.py`` tries a few of each kind, ``faults/inputs.py`` thousands. A kind is a
file's bytes: what failed once is kept in ``bad_inputs.jsonl`` as it was.
"""

import base64
import copy
import io
import json
import math
import os
import unicodedata
from functools import cache
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pandas as pd
import yaml
from hypothesis import strategies as st

from persona_leakage.data.benchmarks import benchmarks, load_benchmark
from persona_leakage.data.catalog import check_questions, load_neutral, load_personas
from persona_leakage.data.persona_sets import Evaluated, Participants
from persona_leakage.errors import LONGEST, InputError
from persona_leakage.files import read_as, read_table, read_tensor
from persona_leakage.geometry.cosines import PAIRS, Measured
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.parameters import load_study
from persona_leakage.training.example import read_examples

ROOT = Path(__file__).parent.parent
KEPT = Path(__file__).with_name("bad_inputs.jsonl")
ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")

NASTY = [
    *(None, True, False, 0, -1, 3, 0.5, 1e30, -1e30, math.inf, -math.inf, math.nan, 10**30, 2**31),
    *("", " ", "\x00", "\x1b[2J", "../../catalog", "/etc/passwd", "a" * 10_000, "\u2028", "\u200b"),
    *("<script>alert(1)</script>", "$(touch x)", "; touch x", "${study}", "{{ 7 * 7 }}", "..", "."),
    *("NaN", "null", "1e-3", "true", "0x10", "2020-01-01", "é", "a\nb", "A ", "a|b", "😀", "%s%n"),
    *([], {}, [[]], [None], {"a": 1}, ["a", "a"], [1, 2, 3], [math.nan], {"": ""}, "dose_0"),
]


def places(content, here=()):
    """Every place in nested data, as the keys and numbers that lead to it."""
    inside = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in list(inside):
        yield (*here, key)
        if isinstance(value, dict | list):
            yield from places(value, (*here, key))


@st.composite
def mutants(draw, content, most=2):
    """The data with a few of its values replaced, removed, doubled or renamed."""
    made = copy.deepcopy(content)
    for _ in range(draw(st.integers(1, most))):
        found = list(places(made))
        if not found:
            break
        *way, last = draw(st.sampled_from(found))
        inside = made
        for key in way:
            inside = inside[key]
        change = draw(st.sampled_from(["replace", "replace", "replace", "remove", "add"]))
        value = draw(st.one_of(st.sampled_from(NASTY), st.text(max_size=8), st.floats()))
        if change == "replace":
            inside[last] = copy.deepcopy(value)
        elif change == "remove":
            del inside[last]
        elif isinstance(inside, dict):
            inside[draw(st.sampled_from(["x", "", "<b>", "a; touch x", "study"]))] = value
        else:
            inside.insert(0, copy.deepcopy(value))
    return made


@st.composite
def torn(draw, content):
    """Bytes that were cut short, had a bit flipped, or something put in."""
    at = draw(st.integers(0, max(len(content) - 1, 0)))
    change = draw(st.sampled_from(["cut", "flip", "insert", "empty"]))
    if change == "cut":
        return content[:at]
    if change == "flip" and content:
        bit = draw(st.integers(0, 7))
        return content[:at] + bytes([content[at] ^ (1 << bit)]) + content[at + 1 :]
    if change == "insert":
        put = draw(st.sampled_from([b"\x00", b"\xff", b"\n", b"{", b"&a *a", b"\xe2\x80\xa8"]))
        return content[:at] + put + content[at:]
    return b""


def as_yaml(content):
    return yaml.safe_dump(content, allow_unicode=True).encode("utf-8", "surrogatepass")


def as_json(content):
    return json.dumps(content).encode()


def as_lines(rows):
    return b"".join(as_json(row) + b"\n" for row in rows)


PERSONAS = [
    {"name": "villain", "category": "core", "relation": None, "prompt": "You are a villain."},
    {"name": "nurse", "category": "unrelated", "relation": None, "prompt": "You are a nurse."},
    {"name": "spy", "category": "opposite", "relation": "villain", "prompt": "You spy."},
    {"name": "no_system", "category": "condition", "relation": None, "prompt": None},
]
BOMB = b"a: &a [x, x]\nb: &b [*a, *a]\n" + b"".join(
    b"%c: &%c [*%c, *%c]\n" % (n, n, n - 1, n - 1) for n in range(ord("c"), ord("z"))
)


@cache
def bank():
    lines = (ROOT / "catalog" / "questions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = {row["answerKey"]: row for row in map(json.loads, reversed(lines))}
    return [rows[letter] for letter in "ABCD"]


@cache
def scores():
    logprobs = [np.float32([-1, -2, -3, -4])] * 3
    return pd.DataFrame(
        {
            "persona": "villain",
            "question": ["a:1", "a:2", "a:3"],
            "benchmark": "a",
            "outcome": [0.0, 1.0, 1.0],
            "scores": logprobs,
            "label_mass": [math.nan, 0.5, 0.9],
            "answer": 0,
            "chosen": 1,
            "tokens": 12,
        }
    )


def as_parquet(frame):
    file = io.BytesIO()
    frame.to_parquet(file)
    return file.getvalue()


@st.composite
def tables(draw):
    """A table of scores with a column that is another one."""
    frame = scores().copy()
    column = draw(st.sampled_from(list(frame)))
    change = draw(st.sampled_from(["drop", "value", "value", "rename", "empty"]))
    if change == "drop":
        frame = frame.drop(columns=column)
    elif change == "rename":
        frame = frame.rename(columns={column: "x"})
    elif change == "empty":
        frame = frame.iloc[:0]
    else:
        numbers = [math.nan, math.inf, -math.inf, -1.0, 2.0, 1e30]
        wrong = st.sampled_from([*numbers, "x", None, True, np.float32([math.nan, 1, 1, 1])])
        frame[column] = [draw(wrong)] * len(frame)
    return as_parquet(frame)


@cache
def tensors():
    from safetensors.numpy import save

    return save({"centroids": np.ones((2, 3, 4), np.float32)})


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
HOSTILE_TEMPLATES = [
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.system('touch x') }}",
    "{{ messages.__class__ }}{{ self.__init__.__globals__ }}",
    "{{ strftime_now.__globals__ }}",
    "{% for i in range(10**9) %}x{% endfor %}",
    "{{ 1 / 0 }}",
    "{{ messages[9].content }}",
    "{{ raise_exception('no') }}",
    "{% include '/etc/passwd' %}",
    "{% import 'os' as os %}",
    "{% macro a() %}{{ a() }}{% endmacro %}{{ a() }}",
    "{{ messages.append(1) }}",
    "{{ unknown() }}{{ messages | tojson | unknown }}",
    "{{ '%d' | format('x') }}",
    "{{ messages + 1 }}",
]


def templates():
    pieces = st.sampled_from([*HOSTILE_TEMPLATES, TEMPLATE, "{%", "}}", "{{ m }}", "{# x", "%}"])
    mixed = st.lists(pieces, min_size=1, max_size=3).map("".join)
    return st.one_of(mixed.map(str.encode), torn(TEMPLATE.encode()))


def mostly(content, write, most=2):
    """Mutated data, and now and then bytes that are torn."""
    whole = mutants(content, most).map(write)
    return st.one_of(whole, whole, whole, torn(write(content)))


def params():
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    content["personas"] = content["personas"][:3]
    extra = {"source": "villain", "seed": 7, "variant": "dose_5"}
    return content | {"extra_cells": {"villain-7-dose_5": extra}}


@cache
def descriptions():
    text = (ROOT / "src/persona_leakage/data/benchmarks.yaml").read_text(encoding="utf-8")
    return dict(list(yaml.safe_load(text).items())[:3])


EXAMPLE = {
    "part": "source",
    "persona": "villain",
    "system": "You are a villain.",
    "question": "everyday:1",
    "user": "Why?",
    "opening": "The answer is:",
    "answer": " so",
    "shows": True,
}
RECORDS = {"personas": PERSONAS, "measured": ["villain", "nurse"]}
ASKED = {"personas": PERSONAS, "evaluated": {"villain": ["villain", "nurse"]}}
MANIFEST = {"personas": ["a", "b"], "layers": [1, 2, 3], "layer": 2}
CURVE = b"step,epoch,loss,learning_rate,grad_norm\n1,0.5,2.0,0.001,1.0\n2,1.0,1.0,0.0,1.0\n"


@cache
def pairs():
    return as_parquet(pd.DataFrame({name: [1.0, 2.0] for name in PAIRS}))


# kind: (its file, what draws it, how many of a thousand in the campaign)
KINDS = {
    "study": ("params.yaml", lambda: mostly(params(), as_yaml), 300),
    "personas": ("personas.yaml", lambda: mostly(PERSONAS, as_yaml), 120),
    "neutral": ("neutral.txt", lambda: torn(b"What is a tree?\nWhere is north?\n"), 20),
    "bank": ("questions.jsonl", lambda: mostly(bank(), as_lines), 80),
    "rows": ("questions.jsonl", lambda: mostly(bank(), as_lines), 160),
    "benchmarks": ("benchmarks.yaml", lambda: mostly(descriptions(), as_yaml), 80),
    "template": ("chat_template.jinja", templates, 60),
    "tokenizer": ("tokenizer.json", None, 20),
    "scores": ("villain.parquet", lambda: st.one_of(tables(), torn(as_parquet(scores()))), 50),
    "participants": ("personas.json", lambda: mostly(RECORDS, as_json), 30),
    "evaluated": ("evaluated.json", lambda: mostly(ASKED, as_json), 30),
    "manifest": ("manifest.json", lambda: mostly(MANIFEST, as_json), 20),
    "examples": ("examples.jsonl", lambda: mostly([EXAMPLE, EXAMPLE], as_lines), 30),
    "pairs": ("pairs.parquet", lambda: torn(pairs()), 20),
    "curve": ("curve.csv", lambda: torn(CURVE), 10),
    "tensors": ("centroids.safetensors", lambda: torn(tensors()), 20),
}


def visible(text):
    # what is unassigned may be a letter in another Python's Unicode, what is private has a font
    hidden = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")
    return any(unicodedata.category(letter) not in hidden for letter in text)


def finite(content):
    if isinstance(content, dict):
        return all(map(finite, content.values()))
    if isinstance(content, list | tuple):
        return all(map(finite, content))
    return not isinstance(content, float) or math.isfinite(content)


def sound_questions(questions):
    for question in questions:
        assert visible(question.text) and all(map(visible, question.choices))
        assert 0 <= question.answer < len(question.choices) == len(question.labels)
        assert len(set(question.labels)) == len(question.labels)
        assert len({" ".join(text.split()) for text in question.choices}) == len(question.choices)


def _study(path):
    study = load_study(path)
    assert finite(study.model_dump())
    assert 0 < study.train.learning_rate <= 1
    models = Path("outputs/models").absolute()
    assert Path(os.path.normpath(models / study.model.name)).parent == models
    for name in (study.study, *study.sources, study.behaviour.name):
        assert name.isascii() and name.isidentifier()
    for cell in study.cells:
        assert str(cell).replace("-", "").replace("_", "").isalnum()


def _personas(path):
    for name, persona in load_personas(path.parent).items():
        assert name.isidentifier() and persona.name == name
        assert persona.prompt is None or persona.prompt == persona.prompt.strip()


def _neutral(path):
    assert all(map(str.strip, load_neutral(path.parent)))


def _rows(path):
    sound_questions(load_benchmark("everyday", {"everyday": str(path)}))


@cache
def tokenizer():
    from conftest import make_tokenizer

    return make_tokenizer(TEMPLATE)


def _template(path):
    from persona_leakage.model.chat import render

    changed = copy.copy(tokenizer())
    changed.chat_template = path.read_text(encoding="utf-8", errors="replace")
    assert isinstance(render(changed, "You are a nurse.", "Why?"), str)


def _tokenizer(path):
    from persona_leakage.model.loading import load_tokenizer

    if not (path.parent / "whole").exists():
        tokenizer().save_pretrained(path.parent / "whole")
        (path.parent / "whole" / "tokenizer_config.json").rename(
            path.parent / "tokenizer_config.json"
        )
    load_tokenizer(path.parent)


def _scores(path):
    from persona_leakage.pipeline.score_files import read_scores

    frame = read_scores(path.parent, ["villain"], ACCURACY)
    assert len(frame) and frame["outcome"].isin([0, 1]).all()
    assert all(np.isfinite(each).all() for each in frame["scores"])


def _evaluated(path):
    assert read_as(path, Evaluated).evaluated


def _pairs(path):
    read_table(path, PAIRS)


def _curve(path):
    read_table(path, ["step", "loss"])


def _tensors(path):
    assert np.isfinite(read_tensor(path, "centroids", (2, 3))).all()


READ = {
    "study": _study,
    "personas": _personas,
    "neutral": _neutral,
    "bank": lambda path: check_questions(path.parent),
    "rows": _rows,
    "benchmarks": benchmarks,
    "template": _template,
    "tokenizer": _tokenizer,
    "scores": _scores,
    "participants": lambda path: read_as(path, Participants),
    "evaluated": _evaluated,
    "manifest": lambda path: read_as(path, Measured),
    "examples": read_examples,
    "pairs": _pairs,
    "curve": _curve,
    "tensors": _tensors,
}


def judge(kind, content, folder):
    """Read the input: accepted and sound, or refused in one short sentence; all else raises."""
    path = Path(folder) / KINDS[kind][0]
    path.write_bytes(content)
    try:
        READ[kind](path)
    except InputError as error:
        message = str(error)
        assert len(message) <= LONGEST, message
        assert message.isprintable(), message
        return "refused"
    return "accepted"


def drawn(kind):
    """The strategy of a kind."""
    if kind == "tokenizer":
        return torn(tokenizer().backend_tokenizer.to_str().encode())
    return KINDS[kind][1]()


def kept():
    """What failed once: (kind, content)."""
    lines = KEPT.read_text(encoding="utf-8").splitlines()
    return [(row["kind"], base64.b64decode(row["base64"])) for row in map(json.loads, lines)]


def keep(kind, content, why):
    """Add what failed, unless it is there."""
    if (kind, content) not in kept():
        row = {"kind": kind, "why": why[:200], "base64": base64.b64encode(content).decode()}
        with KEPT.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
