"""Which weights a folder holds, by their hashes."""

from pathlib import Path

from persona_leakage.errors import InputError
from persona_leakage.files import Record, read_json, sha256, write_json

NOTED = "sha256.json"


def note_weights(directory: Path) -> None:
    """Note the hashes beside the weights, so that no later stage has to read gigabytes for them.

    Parameters
    ----------
    directory : Path
        A model folder.
    """
    write_json(directory / NOTED, _hashes(directory))


def weights_of(directory: Path) -> Record:
    """Return the hash of every file of weights, by its name: as noted, or else computed.

    Parameters
    ----------
    directory : Path
        A model's or an adapter's folder.
    """
    if (directory / NOTED).exists():
        hashes: Record = read_json(directory / NOTED)
        return hashes
    return _hashes(directory)


def checked_weights(directory: Path) -> Record:
    """Return what ``weights_of`` does, having read the weights: they are as they were noted.

    Parameters
    ----------
    directory : Path
        A model's or an adapter's folder.

    Raises
    ------
    InputError
        A file has changed since; a flipped bit is enough.
    """
    hashes, noted = _hashes(directory), weights_of(directory)
    for name in sorted(hashes.keys() | noted.keys()):
        if hashes.get(name) != noted.get(name):
            raise InputError(
                f"{directory / name}: damaged, its SHA-256 is not the one that was noted when it "
                "was fetched; `dvc repro -f base` fetches the model again"
            )
    return hashes


def _hashes(directory: Path) -> Record:
    return {file.name: sha256(file) for file in sorted(directory.glob("*.safetensors"))}
