"""The base model: fetched once, checked, kept as safetensors; loaded with or without an adapter."""

import os
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from persona_leakage.errors import InputError
from persona_leakage.files import sha256, whole
from persona_leakage.model import architecture
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.chat import Tokenizer
from persona_leakage.model.kernels import fused, settle
from persona_leakage.study.parameters import FolderOrigin, HubOrigin, WheelOrigin

Precision = Literal["auto", "float32", "bfloat16"]

PATTERNS = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "merges.txt", "vocab.*", "LICENSE*"]


def fetch(origin: WheelOrigin | HubOrigin | FolderOrigin, directory: str | Path) -> None:
    """Put the model's safetensors, configuration and tokenizer into ``directory``.

    Raises
    ------
    InputError
        The origin cannot be reached or its bytes are not the expected ones; names the remedy.
    """
    with whole(directory) as partial:
        match origin:
            case WheelOrigin():
                _from_wheel(origin, partial)
            case HubOrigin():
                _from_hub(origin, partial)
            case FolderOrigin():
                _from_folder(origin, partial)
        if not list(partial.glob("*.safetensors")):
            raise InputError(
                f"model: {origin} holds no safetensors; other weight formats are not loaded, "
                "convert them first"
            )


def _from_wheel(origin: WheelOrigin, directory: Path) -> None:
    from transformers import GgufConfig

    try:
        file = next(
            Path(str(path.locate()))
            for path in metadata.files(origin.package) or []
            if path.name == origin.file
        )
    except (metadata.PackageNotFoundError, StopIteration) as error:
        raise InputError(
            f"model: the package {origin.package} with {origin.file} is not installed; "
            "`make setup` installs it from the lock file, elsewhere "
            f"`pip install --no-deps {origin.package}`"
        ) from error
    found = sha256(file)
    if found != origin.sha256:
        raise InputError(
            f"model: {file} has SHA-256 {found}, not {origin.sha256} as in model.origin.sha256; "
            f"reinstall it with `uv sync --reinstall-package {origin.package}`"
        )
    source = {"pretrained_model_name_or_path": str(file.parent), "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, quantization_config=GgufConfig(dequantize=True), dtype=torch.float32
    )
    model.save_pretrained(directory)
    AutoTokenizer.from_pretrained(**source).save_pretrained(directory)


def _from_hub(origin: HubOrigin, directory: Path) -> None:
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        snapshot_download(
            origin.repo, revision=origin.revision, allow_patterns=PATTERNS, local_dir=directory
        )
        described = HfApi().model_info(origin.repo, revision=origin.revision, files_metadata=True)
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise InputError(
            f"model: {origin.repo} cannot be reached; where there is a network run "
            f"`hf download {origin.repo} --revision {origin.revision} --local-dir FOLDER` and set "
            "model.origin to {kind: folder, path: FOLDER}"
        ) from error
    expected = {file.rfilename: file.lfs.sha256 for file in described.siblings or [] if file.lfs}
    for file in sorted(directory.glob("*.safetensors")):
        if sha256(file) != expected[file.name]:
            raise InputError(
                f"model: {origin.repo}/{file.name} is not the file that the hub describes at "
                f"{origin.revision}; delete it from the Hugging Face cache and run again"
            )


def _from_folder(origin: FolderOrigin, directory: Path) -> None:
    source = Path(origin.path)
    if not (source / "config.json").exists():
        raise InputError(f"model: {source} has no config.json; model.origin.path is a model folder")
    directory.mkdir()
    for pattern in PATTERNS:
        for file in source.glob(pattern):
            if not (directory / file.name).exists():
                # hard links share the bytes: a 15 GB model is not copied
                try:
                    os.link(file.resolve(), directory / file.name)
                except OSError:
                    (directory / file.name).write_bytes(file.read_bytes())


def device() -> torch.device:
    """The accelerator that torch sees, else the processor."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def dtype(precision: Precision) -> torch.dtype:
    """Turn the parameter into a torch type; ``auto`` is bfloat16 where it is multiplied faster."""
    if precision == "auto":
        fast = device().type != "cpu" or _processor_gains_from_bfloat16()
        return torch.bfloat16 if fast else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _processor_gains_from_bfloat16() -> bool:
    # Processors with AVX512-FP16 have their bfloat16 rate in AMX, which a virtual machine may hide;
    # their vector instructions for it are slower than float32.
    can = torch.cpu.get_capabilities()
    vectors = can.get("avx512_bf16", False) and not can.get("avx512_fp16", False)
    return bool(can.get("amx_bf16", False) or vectors)


def context(directory: str | Path) -> int | None:
    """Tokens that the model of a folder reads at most: see ``architecture.context``.

    Parameters
    ----------
    directory : path
    """
    return architecture.context(AutoConfig.from_pretrained(directory))


def load_tokenizer(directory: str | Path) -> Tokenizer:
    """Load the tokenizer of a model folder.

    Parameters
    ----------
    directory : path
    """
    settle()
    return AutoTokenizer.from_pretrained(directory)


def load_model(directory: str | Path, precision: Precision) -> CausalLM:
    """Load a model folder's weights, in the given precision, onto the device, for inference.

    Parameters
    ----------
    directory : path
    precision : {"auto", "float32", "bfloat16"}
    """
    return fused(load_weights(directory, precision).to(device()).eval())


def load_weights(directory: str | Path, precision: Precision) -> CausalLM:
    """Load a model folder's weights, in the given precision, into memory, with torch's attention.

    With transformers' own, ``eager``, where the architecture has no other, caps the attention's
    logits (Gemma 2), which torch's cannot, or adds distances to them (Falcon with ALiBi), which
    transformers rounds otherwise for torch's.

    Parameters
    ----------
    directory : path
    precision : {"auto", "float32", "bfloat16"}

    Raises
    ------
    InputError
        The weights lack some that the architecture has, or their shapes are others.
    """
    settle()

    def load(attention: str) -> tuple[CausalLM, dict[str, Any]]:
        loaded: tuple[CausalLM, dict[str, Any]] = AutoModelForCausalLM.from_pretrained(
            directory,
            dtype=dtype(precision),
            attn_implementation=attention,
            use_safetensors=True,
            output_loading_info=True,
        )
        return loaded

    text = AutoConfig.from_pretrained(directory).get_text_config(decoder=True)
    if getattr(text, "attn_logit_softcapping", None) is not None or getattr(text, "alibi", False):
        model, report = load("eager")
    else:
        try:
            model, report = load("sdpa")
        except ValueError:  # what transformers raises where an architecture has no sdpa
            model, report = load("eager")
    for fault in ("missing_keys", "mismatched_keys"):
        if names := sorted(map(str, report[fault])):
            raise InputError(
                f"model: the weights in {directory} do not fit {architecture.name(model)}: "
                f"{len(names)} {fault.replace('_keys', '')}, the first {names[0]}; they would be "
                "random numbers. Fetch the model again"
            )
    return model


def load_adapted(directory: str | Path, adapter: str | Path, precision: Precision) -> CausalLM:
    """Load a model with a LoRA adapter added to its weights, in memory; nothing is written.

    ``W + scaling * B A`` (Hu et al. 2021, section 4.1) is formed in float32 and rounded to the
    working precision once. W is the weight that the baseline was scored with and training saw.

    Parameters
    ----------
    directory : path
        Of the base model.
    adapter : path
        Of the folder that training saved.
    precision : {"auto", "float32", "bfloat16"}
    """
    from peft import PeftModel
    from peft.tuners.lora import LoraLayer

    adapted = PeftModel.from_pretrained(load_model(directory, precision), str(adapter))
    for module in adapted.modules():
        if isinstance(module, LoraLayer):
            weight = module.get_base_layer().weight
            change = module.get_delta_weight(adapted.active_adapter)
            weight.data = (weight.data.float() + change.float()).to(weight.dtype)
    return adapted.unload().eval()
