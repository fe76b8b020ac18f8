"""Whether a stage of a cell has been done already, from the same: for commands without DVC.

DVC removes what a stage makes before it runs it. ``mlflow run`` does not; what it finds there is
used where nothing differs that it was made of: inputs, parameters, code, libraries.
"""

import hashlib
import json
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path

from pydantic import BaseModel

import persona_leakage
from persona_leakage.errors import InputError
from persona_leakage.files import read_as, sha256, sha256_below, write_json
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study

LIBRARIES = ("matplotlib", "numpy", "pandas", "scikit-learn", "scipy", "statsmodels")


class Note(BaseModel):
    """What a finished stage notes.

    Attributes
    ----------
    made_of : str
        Of ``made_of``.
    made : str
        Digest of the files that it made.
    """

    made_of: str
    made: str


def made_of(study: Study, inputs: Iterable[Path]) -> str:
    """Digest of all that a stage's outputs depend on.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    inputs : iterable of Path
        Files, and folders with all that is in them.
    """
    code = sorted(Path(persona_leakage.__file__).parent.rglob("*.py"))
    digest = hashlib.sha256(study.model_dump_json().encode())
    for name in LIBRARIES:
        digest.update(f"{name} {version(name)}\n".encode())
    for path in (*code, *inputs):
        digest.update(_of(path).encode())
    return digest.hexdigest()


def is_finished(study: Study, cell: Cell, output: Path, key: str) -> bool:
    """Tell whether an output is there, whole, and made of this.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        Whose output.
    output : Path
        A folder.
    key : str
        Of ``made_of``.
    """
    try:
        return read_as(_note(study, cell, output), Note) == Note(made_of=key, made=_of(output))
    except (InputError, OSError):  # never noted, or damaged
        return False


def note_finished(study: Study, cell: Cell, output: Path, key: str) -> None:
    """Note what an output was made of.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    cell : Cell
        Whose output.
    output : Path
        A folder that is finished.
    key : str
        Of ``made_of``, from before it was made.
    """
    made = Note(made_of=key, made=_of(output))
    write_json(_note(study, cell, output), made.model_dump())


def _note(study: Study, cell: Cell, output: Path) -> Path:
    return Path("outputs") / study.study / "finished" / f"{output.parent.name}-{cell}.json"


def _of(path: Path) -> str:
    """Digest of a file, or of a folder's files and their names; of what is not there a word."""
    if not path.exists():
        return "not there"
    if not path.is_dir():
        return sha256(path)
    return hashlib.sha256(json.dumps(sha256_below(path)).encode()).hexdigest()
