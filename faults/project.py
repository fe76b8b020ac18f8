"""A small project to be hurt: a checkout of its own, a tiny random model, every command.

What the campaigns share. Nothing here needs a network or takes more than seconds of a processor,
but for the commands themselves.
"""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "src"))  # this checkout's, whatever is installed
CELL = ("villain", "42", "contrastive")
TINY = {
    "study": "tiny",
    "sources": ["villain"],
    "seeds": [42],
    "variants": ["contrastive"],
    "personas": ["villain", "henchman", "spy", "nurse", "baker", "librarian", "comedian", "farmer"],
    "behaviour": {"name": "wrong_answers", "scoring": "option_text"},
    "contrast": {
        "positives": 12,
        "negatives": ["librarian"],
        "per_negative": 12,
        "no_system": 4,
        "assistant": 4,
    },
    "similarity": {"layer": 2, "layers": [1, 2]},
}
# made anew each time on purpose, so no part of a comparison: when, how long, on which commit
VOLATILE = ("mlruns", "mlflow.db", ".mlflow.db.lock", ".dvc", ".git", "valid", "checkpoints")


def environment() -> dict[str, str]:
    """Give the commands one thread, no network, and the checkout's own code."""
    inherited = {
        name: v for name, v in os.environ.items() if not name.startswith(("MLFLOW", "DVC"))
    }
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": "src",
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "GIT_AUTHOR_NAME": "faults",
        "GIT_AUTHOR_EMAIL": "faults@example.invalid",
        "GIT_COMMITTER_NAME": "faults",
        "GIT_COMMITTER_EMAIL": "faults@example.invalid",
    }


def checkout(folder: Path, model: Path) -> Path:
    """Copy the working tree to ``folder``, as a repository of its own with the tiny study.

    Parameters
    ----------
    folder : Path
        Is made.
    model : Path
        Folder of a model.
    """
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    for name in listed.stdout.decode().rstrip("\0").split("\0"):
        if (ROOT / name).is_file() and not name.startswith(("reports/", "kept/", "docs/")):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes((ROOT / name).read_bytes())
    (folder / "dvc.lock").unlink(missing_ok=True)
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | TINY
    params["model"] = {"name": "tiny", "origin": {"kind": "folder", "path": str(model)}}
    params["questions"] |= {"max_train": 12, "max_evaluate": 12}
    params["train"] |= {"epochs": 2, "batch_size": 8}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False))
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "tiny"]):
        subprocess.run(["git", *command], cwd=folder, check=True, env=environment())
    return folder


def fingerprints(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below that is no temporary or volatile one, by its path.

    Parameters
    ----------
    folder : Path
        Of ``checkout``, or a part of it.
    """
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(part in VOLATILE for part in file.relative_to(folder).parts)
    }


def leftovers(folder: Path) -> list[str]:
    """Temporary files and folders beside what the commands make.

    Parameters
    ----------
    folder : Path
        Of ``checkout``.
    """
    made = [folder / name for name in ("outputs", "reports", "kept", "mlruns")]
    files = [*folder.iterdir(), *(file for each in made for file in each.rglob("*"))]
    return sorted(
        str(file.relative_to(folder)) for file in files if file.suffix in (".partial", ".aside")
    )


def make_model(folder: Path) -> Path:
    """Write a random Llama of three layers and the tests' tokenizer.

    Parameters
    ----------
    folder : Path
        Is made.
    """
    sys.path.insert(0, str(ROOT / "tests"))
    import torch
    from conftest import SHAPE, SMOL_DEFAULT, chatml, make_tokenizer
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    tokenizer = make_tokenizer(chatml(SMOL_DEFAULT))
    LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), **SHAPE)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
