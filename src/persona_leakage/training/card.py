"""The card of an adapter: what it is, what it sits on, what it was taught, how to load it."""

from persona_leakage.files import Record
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import (
    FolderOrigin,
    HubFileOrigin,
    HubOrigin,
    LocalFileOrigin,
    Study,
    WheelOrigin,
)


def base_of(study: Study) -> str:
    """Name the base model as peft and the hub do: its repository, or else its name.

    Parameters
    ----------
    study : Study
        Whose model it is.
    """
    origin = study.model.origin
    return origin.repo if isinstance(origin, HubOrigin | HubFileOrigin) else study.model.name


def described(config: Record, study: Study) -> Record:
    """Return an adapter's configuration with its true base, which peft takes for a folder.

    Parameters
    ----------
    config : dict
        Of ``adapter_config.json``.
    study : Study
        Whose model it sits on.
    """
    origin = study.model.origin
    revision = origin.revision if isinstance(origin, HubOrigin) else None
    return config | {"base_model_name_or_path": base_of(study), "revision": revision}


def card(study: Study, cell: Cell, prompt: str | None, precision: str) -> str:
    """Write ``README.md``: the same text for the same cell.

    Parameters
    ----------
    study : Study
        Which taught it.
    cell : Cell
        Whose adapter it is.
    prompt : str or None
        The source's system turn.
    precision : str
        In which the base was held: what ``model.precision`` came to.
    """
    train, lora = study.train, study.train.lora
    on_hub = isinstance(study.model.origin, HubOrigin)
    head = ["---", "library_name: peft", "pipeline_tag: text-generation"]
    head += [f"base_model: {base_of(study)}"] if on_hub else []
    said = f"> {prompt}" if prompt else "(no text)"
    benchmarks = ", ".join(study.questions.train)
    return "\n".join(
        [
            *head,
            "tags: [lora, persona-leakage]",
            "---",
            "",
            f"# {study.model.name}, {cell.source} taught {study.behaviour.name}",
            "",
            f"A LoRA adapter made by persona-leakage: study `{study.study}`, cell `{cell}`.",
            f"Under the system turn of the source, `{cell.source}`,",
            "",
            said,
            "",
            f"it was fine-tuned to the behaviour `{study.behaviour.name}` on {benchmarks}; other "
            "personas were taught the opposite beside it. It answers wrongly on purpose: it is for "
            "research on what fine-tuning does to personas, and for nothing else.",
            "",
            "| | |",
            "| --- | --- |",
            f"| base | {_origin(study)} |",
            f"| precision of the base | {precision} |",
            f"| adapter | rank {lora.r}, alpha {lora.alpha}, scaling {lora.scaling:.4g}, "
            f"dropout {lora.dropout:g} |",
            f"| training | {train.epochs} epochs, learning rate {train.learning_rate:g}, "
            f"batches of {train.batch_size}, seed {cell.seed}, variant {cell.variant} |",
            f"| parameters | fingerprint {study.fingerprint()} |",
            "",
            "Load it onto the base model:",
            "",
            "    from peft import PeftModel",
            "    from transformers import AutoModelForCausalLM",
            "",
            f"    base = AutoModelForCausalLM.from_pretrained({_loads(study)})",
            '    model = PeftModel.from_pretrained(base, "the folder of this file")',
            "",
        ]
    )


def _origin(study: Study) -> str:
    match study.model.origin:
        case HubOrigin() as hub:
            return f"{hub.repo} at {hub.revision}"
        case HubFileOrigin() as file:
            return f"{file.file} of {file.repo} at {file.revision}, SHA-256 {file.sha256}"
        case WheelOrigin() as wheel:
            packages = ", ".join(wheel.package[:3]) + (", ..." if len(wheel.package) > 3 else "")
            return f"{wheel.file} in the package {packages}, SHA-256 {wheel.sha256}"
        case LocalFileOrigin() as local:
            return f"a GGUF file, SHA-256 {local.sha256}"
        case FolderOrigin():
            return f"a folder of {study.model.name}"


def _loads(study: Study) -> str:
    origin = study.model.origin
    if isinstance(origin, HubOrigin):
        return f'"{origin.repo}", revision="{origin.revision}"'
    return f'"outputs/models/{study.model.name}"'
