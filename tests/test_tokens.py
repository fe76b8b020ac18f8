"""Ids of prompt and continuation are those of the whole text, whichever tokenizer made them."""

import pytest
from conftest import CATALOG, SMOL_DEFAULT, all_asked, chatml, conversations
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from persona_leakage.errors import InputError
from persona_leakage.model.chat import Asked, render
from persona_leakage.model.scoring import items
from persona_leakage.model.shared_prefix import IGNORED
from persona_leakage.model.tokens import TAIL, split
from persona_leakage.training.rows import tokenised

SPECIAL = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
# marks of a turn that are text themselves, as Llama 2's and Mistral's: nothing parts the tokens
INSTRUCT = (
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ m['content'] }}</s>"
    "{% else %}[INST] {{ m['content'] }} [/INST]{% endif %}{% endfor %}"
)
TEMPLATES = {"chatml": chatml(SMOL_DEFAULT), "instruct": INSTRUCT}


def byte_level(prefix):
    return Tokenizer(models.BPE()), pre_tokenizers.ByteLevel(add_prefix_space=prefix), None


def metaspace(scheme, model=models.BPE):
    return Tokenizer(model()), pre_tokenizers.Metaspace(prepend_scheme=scheme), None


def legacy_llama():
    """Llama 2's, TinyLlama's and Mistral's: no pre-tokenizer, a space mark before every segment."""
    marks = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    core, train_with, _ = metaspace("always", lambda: models.BPE(byte_fallback=True))
    return core, train_with, marks


KINDS = {
    "byte-level": lambda: byte_level(False),
    "byte-level with a space before": lambda: byte_level(True),
    "metaspace always": lambda: metaspace("always"),
    "metaspace first": lambda: metaspace("first"),
    "metaspace never": lambda: metaspace("never"),
    "unigram always": lambda: metaspace("always", models.Unigram),
    "unigram first": lambda: metaspace("first", models.Unigram),
    "legacy llama": legacy_llama,
}


@pytest.fixture(scope="module", params=KINDS)
def of_a_kind(request) -> PreTrainedTokenizerFast:
    core, train_with, normalizer = KINDS[request.param]()
    core.pre_tokenizer = train_with
    texts = [(CATALOG / name).read_text() for name in ("questions.jsonl", "personas.yaml")]
    size = {"vocab_size": 900, "special_tokens": SPECIAL, "show_progress": False}
    if isinstance(core.model, models.Unigram):
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **size)
    else:
        trainer = trainers.BpeTrainer(
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet()
            if request.param.startswith("byte")
            else [],
            **size,
        )
    core.train_from_iterator(texts, trainer)
    if normalizer is not None:
        core.pre_tokenizer = None
        core.normalizer = normalizer
    core.decoder = decoders.ByteLevel() if "byte" in request.param else decoders.Metaspace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, unk_token="<unk>", bos_token="<s>", eos_token="</s>"
    )
    tokenizer.add_special_tokens({"additional_special_tokens": SPECIAL[3:]})
    return tokenizer


def whole(tokenizer, system, question, continuation):
    text = render(tokenizer, system, question.user) + question.opening + continuation
    return tokenizer(text, add_special_tokens=False)["input_ids"]


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("scoring", ["label", "option_text"])
def test_prompt_and_choice_have_the_ids_of_the_whole_text(of_a_kind, template, scoring, everyday):
    of_a_kind.chat_template = TEMPLATES[template]
    questions = all_asked(everyday[:70], scoring)
    systems = ["You are a spy.", "", "You are a villain who schemes"]
    compared = 0
    for system, made in zip(systems, items(of_a_kind, systems, questions, "template"), strict=True):
        for question, item in zip(questions, made, strict=True):
            for text, ids in zip(question.continuations, item.continuations, strict=True):
                assert item.prompt + ids == whole(of_a_kind, system, question, text)
                compared += 1
    assert compared >= 3 * 240


@pytest.mark.parametrize("scoring", ["label", "option_text"])
def test_training_and_scoring_read_the_same_ids(of_a_kind, scoring, personas, train_questions):
    of_a_kind.chat_template = TEMPLATES["chatml"]
    examples = conversations(personas, train_questions, scoring, each=4)
    questions = {question.key: question for question in all_asked(train_questions, scoring)}
    for example, row in zip(
        examples, tokenised(examples, of_a_kind, 1024, "template"), strict=True
    ):
        question = questions[example.question]
        [[item]] = items(of_a_kind, [example.system], [question], "template")
        answer = example.answer.removesuffix(question.ending)
        scored = item.prompt + item.continuations[question.continuations.index(answer)]
        assert row["input_ids"][: len(scored)] == scored
        # the loss begins where the score does, or later: what all choices begin with is a prompt's
        assert row["labels"].count(IGNORED) >= len(item.prompt)


def test_a_persona_whose_prompt_ends_otherwise_is_tokenised_for_itself(of_a_kind):
    # the user's text comes before the system's here, so that the persona ends the prompt
    of_a_kind.chat_template = (
        "{% for m in messages | reverse %}{{ m['content'] }} {% endfor %}So it is"
    )
    questions = [Asked(f"b:{n}", f"Why {n}?", "", (" one", " two", "s")) for n in range(3)]
    systems = [None, "You are a spy (", "Be" + " kind" * TAIL]
    for system, made in zip(systems, items(of_a_kind, systems, questions, "template"), strict=True):
        for question, item in zip(questions, made, strict=True):
            for text, ids in zip(question.continuations, item.continuations, strict=True):
                assert item.prompt + ids == whole(of_a_kind, system, question, text)


def joining():
    """A tokenizer that joins ``(`` with a letter after it, and knows only a few letters."""
    words = ["<unk>", "(", "A", "B", ")", "x", "(A", "B)"]
    vocabulary = {word: number for number, word in enumerate(words)}
    core = Tokenizer(models.BPE(vocabulary, [("(", "A"), ("B", ")")], unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="<unk>")
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    return tokenizer


def test_what_is_joined_across_the_prompt_s_end_counts_to_the_continuation():
    [[item]] = items(joining(), [None], [Asked("b:7", "xx(", "", ("A", "B"))], "template")
    assert item.prompt == [5, 5]
    assert item.continuations == [[6], [1, 3]]
    assert split(joining(), ["xx(", "xx("], ["A", "B"]) == [([5, 5], [6]), ([5, 5, 1], [3])]


@pytest.mark.parametrize(
    ("question", "message"),
    [
        (Asked("b:7", "x", "", ("A", "B"), ")"), r"b:7: the tokenizer joins 'B' with the '\)'"),
        (Asked("b:7", "x", "", ("C", "D")), "b:7: 'C' and 'D' are the same tokens"),
        (Asked("b:7", "x", "", ("", "A")), "b:7: the tokenizer has no token for ''"),
        (Asked("b:7", "(", "", ("A", "B")), "b:7: its prompt has no token that its continuations"),
    ],
)
def test_continuations_that_cannot_be_told_apart_are_refused_by_name(question, message):
    with pytest.raises(InputError, match=message):
        list(items(joining(), [None], [question], "template"))


def test_the_same_text_twice_is_the_same_continuation_twice():
    [[item]] = items(joining(), [None], [Asked("b:7", "x", "", ("A", "A"))], "template")
    assert item.continuations == [[2], [2]]
