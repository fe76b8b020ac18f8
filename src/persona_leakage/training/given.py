"""An adapter that was trained elsewhere, taken in the place of a training: checked, then copied."""

import re
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_json, sha256
from persona_leakage.model.weights import listed
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import GivenAdapter, HubOrigin, Study
from persona_leakage.training.card import base_of

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"
COPIED = (WEIGHTS, CONFIG, "README.md", "LICENSE")
# peft's settings under which an adapter is more, or other, than W + scaling * B A; empty elsewhere
OTHER = (
    *("use_dora", "use_qalora", "use_bdlora", "lora_bias", "modules_to_save", "rank_pattern"),
    *("alpha_pattern", "trainable_token_indices", "target_parameters", "layer_replication"),
    *("alora_invocation_tokens", "arrow_config", "megatron_config", "auto_mapping"),
)
# the beginnings that leave the base's weights alone, unlike PiSSA's or OLoRA's
BEGINNINGS = (True, False, None, "gaussian")
_TENSOR = re.compile(r"base_model\.model\.(.+)\.lora_([AB])\.weight")


def given_for(study: Study, cell: Cell) -> GivenAdapter:
    """Return the adapter that the study names for a cell.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    cell : Cell
        Of the variant ``given``.

    Raises
    ------
    InputError
        The study names none, as for a cell that it does not list.
    """
    if str(cell) not in study.train.adapters:
        raise InputError(f"params.yaml: train.adapters has no adapter for {cell}; add it there")
    return study.train.adapters[str(cell)]


def take(study: Study, cell: Cell, model_directory: Path, folder: Path) -> None:
    """Check a cell's adapter and copy it, with its author's card and licence.

    Only what ``loading.load_adapted`` can form exactly is taken: LoRA matrices on linear
    projections, in safetensors, of one rank and one scaling.

    Parameters
    ----------
    study : Study
        Says what the adapter must be: its hash, its base, its rank and its scaling.
    cell : Cell
        Of the variant ``given``.
    model_directory : Path
        The base model's folder.
    folder : Path
        Is made.

    Raises
    ------
    InputError
        The adapter is not there, is not the one named, or does not sit on this model; names it,
        its base and its rank, and the remedy.
    """
    given = given_for(study, cell)
    source, key = Path(given.path), f"params.yaml: train.adapters.{cell}"
    for name in (WEIGHTS, CONFIG):
        if not (source / name).is_file():
            raise InputError(
                f"{key}.path: {source} has no {name}; point to the folder that peft saved, other "
                "formats are not loaded"
            )
    digest = sha256(source / WEIGHTS)
    if digest != given.sha256:
        raise InputError(
            f"{key}: {source / WEIGHTS} has SHA-256 {digest[:16]}..., not {given.sha256[:16]}...; "
            "fetch it again, or correct sha256"
        )
    config = read_json(source / CONFIG)
    _require_plain(config, source)
    _require_base(config, study, given, key)
    _require_recipe(config, study, source)
    _require_fit(source, config["r"], model_directory)
    folder.mkdir()
    for name in COPIED:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)


def _require_plain(config: Record, source: Path) -> None:
    found = [name for name in OTHER if config.get(name)]
    if config.get("bias", "none") != "none":
        found.append("bias")
    if config.get("init_lora_weights", True) not in BEGINNINGS:
        found.append("init_lora_weights")
    if config.get("peft_type") != "LORA" or found:
        what = f"sets {listed(found)}" if found else f"is {str(config.get('peft_type'))[:40]}"
        raise InputError(
            f"{source / CONFIG}: the adapter {what}; only plain LoRA is taken, which is added to "
            "the weights"
        )


def _require_base(config: Record, study: Study, given: GivenAdapter, key: str) -> None:
    named, ours = str(config.get("base_model_name_or_path")), base_of(study)
    known = {given.base or ours}
    if given.base is None and not isinstance(study.model.origin, HubOrigin):
        known.add(named if named.rpartition("/")[2] == study.model.name else ours)
    if named not in known:
        raise InputError(
            f"{key}: the adapter (rank {config.get('r')}) was trained on {named[:60]}, and the "
            f"study's model is {ours}; take that model, or set base to the adapter's name of it"
        )


def _require_recipe(config: Record, study: Study, source: Path) -> None:
    lora = study.train.lora
    theirs = (config.get("r"), config.get("lora_alpha"), bool(config.get("use_rslora")))
    if theirs != (lora.r, lora.alpha, lora.rank_stabilised):
        rank, alpha, stabilised = (str(value).lower()[:20] for value in theirs)
        raise InputError(
            f"{source / CONFIG}: the adapter has rank {rank}, alpha {alpha}, rank-stabilised "
            f"{stabilised}; set train.lora to {{r: {rank}, alpha: {alpha}, rank_stabilised: "
            f"{stabilised}}}, which the report states"
        )


def _require_fit(source: Path, rank: int, model_directory: Path) -> None:
    file = source / WEIGHTS
    try:
        tensors = load_file(file)
    except Exception as error:  # whatever the parser of a foreign file raises
        raise InputError(f"{file}: not safetensors ({str(error)[:60]}); fetch it again") from error
    with torch.device("meta"):
        base = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model_directory))
    shapes = {
        name: sorted(module.weight.shape)
        for name, module in base.named_modules()
        if isinstance(module, torch.nn.Linear | Conv1D)
    }
    sides: dict[str, dict[str, torch.Tensor]] = {}
    strange = []
    for name, tensor in tensors.items():
        match = _TENSOR.fullmatch(name)
        if match is None or match[1] not in shapes:
            strange.append(name)
        else:
            sides.setdefault(match[1], {})[match[2]] = tensor
    for name, pair in sides.items():
        if set(pair) != {"A", "B"} or not (
            pair["A"].shape[0] == pair["B"].shape[1] == rank
            and sorted((pair["B"].shape[0], pair["A"].shape[1])) == shapes[name]
        ):
            strange.append(name)
        elif not all(torch.isfinite(each).all() for each in pair.values()):
            raise InputError(f"{file}: {name} is not finite; the adapter is damaged")
    if strange or not sides:
        raise InputError(
            f"{file}: {listed(sorted(strange)) or 'nothing'} (rank {rank}) does not fit the linear "
            f"projections of {model_directory.name}; take the model that the adapter was trained on"
        )
