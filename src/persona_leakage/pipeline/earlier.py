"""Folders that were computed before, under the hash of all that they were computed from.

DVC has a memory of its own, which does not help whoever restores a ``dvc.lock`` that another
machine wrote: where a stage's inputs are those of the lock, it looks for the lock's outputs alone,
and those were never here. What takes minutes (centroids, predictors, adapters) is therefore brought
back by the stage itself, as ``pipeline.scores`` does with scores. ``EARLIER`` may be deleted at any
time.
"""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

import persona_leakage
from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_json, sha256, sha256_below, whole, write_json
from persona_leakage.model.loading import device, dtype
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.weights import checked_weights
from persona_leakage.study.parameters import Study

EARLIER = Path("outputs/earlier")
HASHES = "sha256.json"
CONTENT = "content"
LIBRARIES = ("torch", "transformers", "peft", "trl")


def computed_with(study: Study, rooms: Iterable[str]) -> dict[str, str]:
    """State, for comparison, what the base model computes with: its files, code, libraries.

    Parameters
    ----------
    study : Study
        Whose base model is there.
    rooms : iterable of str
        Packages of this project whose code takes part.
    """
    directory = paths.model(study)
    package = Path(persona_leakage.__file__).parent
    small = [file for file in sorted(directory.iterdir()) if file.suffix != ".safetensors"]
    code = [file for room in rooms for file in sorted((package / room).glob("*.py"))]
    return {
        "model": hash_of([*checked_weights(directory).values(), *map(sha256, small)]),
        "code": hash_of(map(sha256, code)),
        "libraries": ", ".join(f"{name} {version(name)}" for name in LIBRARIES),
    }


def arithmetic(study: Study) -> dict[str, str]:
    """State, for comparison, how the model is asked and how this machine rounds.

    Parameters
    ----------
    study : Study
        Whose parameters are in force.
    """
    return {
        "system_role": study.model.system_role,
        "precision": str(dtype(study.model.precision)),
        "device": f"{device().type} {platform.machine()}",
    }


def hash_of(parts: Iterable[str]) -> str:
    """Hash texts, in their order.

    Parameters
    ----------
    parts : iterable of str
        Without line ends.
    """
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def remember(folder: Path, computed_from: Record) -> None:
    """Keep a finished folder for whenever the same is to be computed again.

    Parameters
    ----------
    folder : Path
        Stays as it is; its files are linked, not copied, where the disk can do that.
    computed_from : dict
        All that decides its content.
    """
    with whole(_kept(computed_from)) as partial:
        shutil.copytree(folder, partial / CONTENT, copy_function=_link)
        write_json(partial / HASHES, sha256_below(partial / CONTENT))


def bring_back(folder: Path, computed_from: Record) -> bool:
    """Put a folder that was computed from the same before into its place; tell whether it was kept.

    Parameters
    ----------
    folder : Path
        Replaced whole.
    computed_from : dict
        As for ``remember``.
    """
    kept = _kept(computed_from)
    try:
        valid = read_json(kept / HASHES) == sha256_below(kept / CONTENT)
    except InputError:
        valid = False  # never computed here, or damaged
    if not valid:
        return False
    with whole(folder) as partial:
        shutil.copytree(kept / CONTENT, partial, copy_function=_link)
    print(f"{folder}: computed before from the same, brought back", flush=True)
    return True


def _kept(computed_from: Record) -> Path:
    key = hash_of([json.dumps(computed_from, sort_keys=True)])
    return EARLIER / key[:2] / key


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a disk without links, or another one
        shutil.copy2(source, target)
