"""A GGUF file made a model folder: its weights de-quantised, its tokenizer as the file says."""

from contextlib import redirect_stderr
from io import StringIO
from math import prod
from pathlib import Path
from typing import Any

import gguf
import torch
from gguf import MODEL_ARCH_NAMES, GGUFReader, TokenType, get_tensor_name_map
from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits, PreTokenizer, Sequence, Split
from transformers import AutoModelForCausalLM, GgufConfig, PreTrainedTokenizerFast

from persona_leakage.errors import InputError
from persona_leakage.model.kernels import reading_once
from persona_leakage.model.weights import listed, require_every_weight

SHARD = "2GB"  # of one safetensors file: what a reader maps at a time

QWEN2 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def convert(file: Path, directory: Path) -> None:
    """Write the file's model into ``directory``: safetensors in float32, configuration, tokenizer.

    Float32 holds every de-quantised value exactly. Memory: the weights in float32, the file, and
    the largest tensor once more.

    Parameters
    ----------
    file : Path
        The GGUF file.
    directory : Path
        Where the model folder is written; made if it is not there.

    Raises
    ------
    InputError
        It is no GGUF file, its architecture or its pre-tokenizer is not known, or its weights do
        not fill the model.
    """
    try:
        reader = GGUFReader(file)
    except (ValueError, IndexError) as error:
        raise InputError(
            f"model: {file} is no whole GGUF file ({error}); fetch it again"
        ) from error
    metadata = {
        name.removeprefix("tokenizer."): field.contents()
        for name, field in reader.fields.items()
        if name.startswith("tokenizer.")
    }
    tokenizer = build_tokenizer(metadata, file)
    try:
        # transformers' switch for its progress bars leaves the one of this on
        with redirect_stderr(StringIO()), reading_once(gguf, reader, file):
            model, loading = AutoModelForCausalLM.from_pretrained(
                file.parent,
                gguf_file=file.name,
                quantization_config=GgufConfig(dequantize=True),
                dtype=torch.float32,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
            )
    except (ValueError, NotImplementedError) as error:
        raise InputError(
            f"model: transformers cannot load {file} ({error}); "
            "take the safetensors of this model, model.origin.kind hub or folder"
        ) from error
    require_every_weight(loading, file)
    _require_nothing_left(reader, model, file)
    model.save_pretrained(directory, max_shard_size=SHARD)
    tokenizer.save_pretrained(directory)


def _require_nothing_left(reader: GGUFReader, model: Any, file: Path) -> None:
    # transformers passes over a tensor that it has no name for, and says nothing. The scaled
    # frequencies of Llama 3.1's rotations are one: without them the model is another one.
    weights = sum(weight.numel() for weight in model.parameters())
    held = sum(prod(tensor.shape) for tensor in reader.tensors)
    if held != weights:
        name = reader.fields["general.architecture"].contents()
        architecture = next(key for key, value in MODEL_ARCH_NAMES.items() if value == name)
        names = get_tensor_name_map(architecture, model.config.num_hidden_layers)
        expected = {
            f"{names.get_name(module)}.{weight}"
            for module, _, weight in (key.rpartition(".") for key in model.state_dict())
        }
        strange = [tensor.name for tensor in reader.tensors if tensor.name not in expected]
        raise InputError(
            f"model: {file} holds {held:,} weights, the model that it describes has {weights:,}"
            + (f"; surplus are {listed(strange)}" if strange else "")
            + "; take the safetensors of this model, model.origin.kind hub or folder"
        )


def build_tokenizer(metadata: dict[str, Any], file: Path) -> PreTrainedTokenizerFast:
    """Build the tokenizer that a GGUF file describes.

    Not left to transformers' conversion: it goes by the model's architecture. A Llama with a
    byte-level vocabulary (SmolLM2) loses its digit rule there, and gets begin and end exchanged.

    Parameters
    ----------
    metadata : dict
        The file's ``tokenizer.*`` keys without that prefix. The keys are those of
        https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, the rules that ``ggml.pre`` names
        those of llama.cpp's ``src/llama-vocab.cpp``.
    file : Path
        Its name, for messages.

    Raises
    ------
    InputError
        The vocabulary is of another kind, or its rule for splitting text is not known here.
    """
    kind, rule = metadata.get("ggml.model"), metadata.get("ggml.pre")
    rules = {"smollm": (None, _smollm()), "qwen2": (normalizers.NFC(), _qwen2())}
    if kind != "gpt2" or rule not in rules:
        raise InputError(
            f"model: {file} has a tokenizer of kind {kind!r} that splits text by {rule!r}; here "
            f"kind 'gpt2' with {' or '.join(map(repr, rules))} is known; "
            "take the safetensors of this model, model.origin.kind hub or folder"
        )
    needed = ("ggml.tokens", "ggml.token_type", "ggml.merges", "ggml.eos_token_id")
    if missing := [f"tokenizer.{key}" for key in needed if key not in metadata]:
        raise InputError(f"model: {file} has no {listed(missing)}; take another file of this model")
    tokens: list[str] = metadata["ggml.tokens"]
    core = Tokenizer(
        BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=[tuple(merge.split(" ")) for merge in metadata["ggml.merges"]],
        )
    )
    normalizer, core.pre_tokenizer = rules[rule]
    if normalizer is not None:
        core.normalizer = normalizer
    core.decoder = decoders.ByteLevel()
    core.add_tokens(
        [
            AddedToken(token, normalized=False, special=use == TokenType.CONTROL)
            for token, use in zip(tokens, metadata["ggml.token_type"], strict=True)
            if use in (TokenType.CONTROL, TokenType.USER_DEFINED)
        ]
    )
    named = {
        f"{role}_token": tokens[metadata[key]]
        for role, key in {
            "bos": "ggml.bos_token_id",
            "eos": "ggml.eos_token_id",
            "unk": "ggml.unknown_token_id",
            "pad": "ggml.padding_token_id",
        }.items()
        if key in metadata
    }
    if metadata.get("ggml.add_bos_token", False):
        begin = named["bos_token"]
        core.post_processor = processors.TemplateProcessing(
            single=f"{begin} $A", special_tokens=[(begin, metadata["ggml.bos_token_id"])]
        )
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, **named)
    tokenizer.chat_template = metadata.get("chat_template")
    return tokenizer


def _smollm() -> PreTokenizer:
    return Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])


def _qwen2() -> PreTokenizer:
    split = Split(Regex(QWEN2), behavior="isolated")
    return Sequence([split, ByteLevel(add_prefix_space=False, use_regex=False)])
