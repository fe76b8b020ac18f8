"""Tiny random models and a tokenizer of our own: logic is tested without any download."""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # the same tests on every machine
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
import yaml
from hypothesis import HealthCheck, settings
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from persona_leakage.data.benchmarks import load_benchmark
from persona_leakage.data.catalog import load_neutral, load_personas
from persona_leakage.data.split import split, with_wrong_answer
from persona_leakage.model.chat import Asked
from persona_leakage.study.parameters import load_study

ROOT = Path(__file__).parent.parent
CATALOG = ROOT / "catalog"
# where docs/paper.md has it put, or beside the clone
ARC = next(
    (
        folder
        for folder in (
            ROOT / "snapshots" / "arc_challenge",
            ROOT.parent / "shared" / "data" / "ai2_arc",
        )
        if folder.exists()
    ),
    None,
)

# the same examples in every run: what is new is looked for by faults/inputs.py
settings.register_profile(
    "same",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
settings.load_profile("same")
torch.set_num_threads(1)  # models this small are slower on more

SMOL_DEFAULT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"


def chatml(default: str) -> str:
    """A ChatML template that injects a default system turn, as SmolLM2's and Qwen2.5's do."""
    return (
        "{% for m in messages %}"
        "{% if loop.first and m['role'] != 'system' %}"
        "<|im_start|>system\n" + default + "<|im_end|>\n{% endif %}"
        "<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def asked(question, scoring) -> Asked:
    """A question put as the protocol does (labels), or with its choices as the answer's text."""
    if scoring == "option_text":
        choices = tuple(f" {choice}" for choice in question.choices)
        return Asked(question.key, question.text, "The answer is:", choices)
    pairs = zip(question.labels, question.choices, strict=True)
    listed = "\n".join(f"({label}) {choice}" for label, choice in pairs)
    user = f"{question.text}\n\n{listed}\n\nThe correct answer is ("
    return Asked(question.key, user, "", question.labels, ")")


def all_asked(questions, scoring) -> list[Asked]:
    return [asked(question, scoring) for question in questions]


@dataclass(frozen=True)
class Conversation:
    """What the trainer reads of an example."""

    persona: str
    system: str | None
    question: str
    user: str
    opening: str
    answer: str


def conversations(personas, questions, scoring="option_text", each=8) -> list[Conversation]:
    """A small training set of a few personas and of no system turn, mixed."""
    made = []
    for number in range(4 * each):
        question = questions[number % len(questions)]
        name = ("villain", "nurse", "no_system", "assistant")[number % 4]
        put = asked(question, scoring)
        answer = put.continuations[question.wrong if name == "villain" else question.answer]
        made.append(
            Conversation(
                name, personas[name].prompt, put.key, put.user, put.opening, answer + put.ending
            )
        )
    return made


def make_tokenizer(template: str | None, size: int = 600) -> PreTrainedTokenizerFast:
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    texts = [(CATALOG / name).read_text() for name in ("questions.jsonl", "personas.yaml")]
    core.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=size,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>")
    tokenizer.add_special_tokens({"additional_special_tokens": special[:2]})
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return make_tokenizer(chatml(SMOL_DEFAULT))


SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}


@pytest.fixture(scope="session")
def llama(tokenizer) -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SHAPE)).eval()


@pytest.fixture(scope="session")
def qwen(tokenizer) -> Qwen2ForCausalLM:
    torch.manual_seed(0)
    config = Qwen2Config(vocab_size=len(tokenizer), tie_word_embeddings=False, **SHAPE)
    return Qwen2ForCausalLM(config).eval()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory, llama, tokenizer) -> Path:
    folder = tmp_path_factory.mktemp("model")
    llama.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def personas():
    return load_personas(CATALOG)


@pytest.fixture(scope="session")
def neutral():
    return load_neutral(CATALOG)


@pytest.fixture(scope="session")
def everyday():
    return load_benchmark("everyday", {"everyday": str(CATALOG / "questions.jsonl")})


@pytest.fixture(scope="session")
def train_questions(everyday):
    taught, _ = split(everyday, 0.5, 42)
    return [with_wrong_answer(question, 42) for question in taught]


@pytest.fixture(scope="session")
def arc():
    if ARC is None:
        pytest.skip("no ARC-Challenge in snapshots/arc_challenge: docs/paper.md has the command")
    return load_benchmark("arc_challenge", {"arc_challenge": str(ARC)})


@pytest.fixture(scope="session")
def odd_arc(arc):
    """Real rows of every shape: numeric labels, 3 and 5 choices, and ordinary ones."""
    shapes: dict[tuple[str, ...], list] = {}
    for question in arc:
        shapes.setdefault(question.labels, []).append(question)
    return [question for rows in shapes.values() for question in rows[:3]]


@pytest.fixture
def study():
    return load_study(ROOT / "params.yaml")


@pytest.fixture
def study_in_small(tmp_path, monkeypatch, model_folder):
    """A study with a tiny random model; the folder that DVC would keep its outputs in."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params |= {
        "study": "small",
        "personas": [
            "villain",
            "henchman",
            "spy",
            "nurse",
            "baker",
            "librarian",
            "comedian",
            "farmer",
        ],
        "contrast": {
            "positives": 6,
            "negatives": ["librarian"],
            "per_negative": 6,
            "no_system": 2,
            "assistant": 2,
        },
        "similarity": {"layer": 2, "layers": [1, 2]},
    }
    params["model"] = {"name": "tiny", "origin": {"kind": "folder", "path": str(model_folder)}}
    params["questions"] |= {"max_train": 8, "max_evaluate": 8}
    params["train"] |= {"epochs": 1}
    store = tmp_path / "store"
    store.mkdir()
    (store / "params.yaml").write_text(yaml.safe_dump(params))
    (store / "data").symlink_to(CATALOG)
    (store / "snapshots").mkdir()
    (store / "reference").symlink_to(ROOT / "reference")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return store
