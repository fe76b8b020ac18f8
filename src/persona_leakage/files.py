"""Reading and writing files so that a half-written output is never taken for a whole one."""

import errno
import hashlib
import json
import math
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from persona_leakage.errors import InputError

Record = dict[str, Any]


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place only when the block succeeds.

    Works for a file and for a directory (the block creates either). Whatever goes wrong, nothing
    half-written is left under either name.

    Raises
    ------
    InputError
        The disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    _remove(partial)
    try:
        yield partial
        _remove(path)
        partial.replace(path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{path}: the disk is full, nothing was kept of this file; "
                "free some space and run `dvc repro` again, finished stages are not recomputed"
            ) from error
        raise
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def read_jsonl(path: str | Path) -> list[Record]:
    """Read one JSON object a line.

    Raises
    ------
    InputError
        The file is missing, or a line is no JSON object; names file and line.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such file; `dvc repro` makes it")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise InputError(
                f"{path}, row {number}: not JSON ({error.msg} at column {error.colno}); "
                "write one JSON object a line"
            ) from error
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {number}: not a JSON object; write one object a line")
        rows.append(row)
    return rows


def write_jsonl(path: str | Path, rows: Iterable[Record]) -> None:
    """Write one JSON object a line, UTF-8, the same bytes for the same rows."""
    with whole(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Raises
    ------
    InputError
        The file is missing.
    """
    if not Path(path).exists():
        raise InputError(f"{path}: no such file; `dvc repro` makes it")
    return json.loads(Path(path).read_text(encoding="utf-8"))


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON with sorted keys: the same bytes for the same content.

    JSON knows no "not a number": it becomes null.
    """
    text = json.dumps(_null(content), ensure_ascii=False, indent=2, sort_keys=True, allow_nan=False)
    write_text(path, text + "\n")


def _null(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: _null(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_null(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def write_text(path: str | Path, content: str) -> None:
    """Write UTF-8 text with Unix line ends on any machine."""
    with whole(path) as partial:
        partial.write_text(content, encoding="utf-8", newline="\n")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
