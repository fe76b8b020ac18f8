"""Reading and writing files so that a half-written output is never taken for a whole one."""

import codecs
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

    Parameters
    ----------
    path : str or Path
        Its folder is made if need be.

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


def read_lines(path: str | Path) -> list[str]:
    """Read the lines of a UTF-8 text, ended by a line feed (or CR LF) and by nothing else.

    Unlike ``str.splitlines`` it leaves U+0085, U+2028 and the like inside a line.

    Parameters
    ----------
    path : str or Path
        An existing file.

    Raises
    ------
    InputError
        The file is missing, or a line is not UTF-8; names file and row.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; `dvc repro` makes it")
    *lines, rest = path.read_bytes().removeprefix(codecs.BOM_UTF8).split(b"\n")
    if rest:
        lines.append(rest)
    texts = []
    for number, line in enumerate(lines, start=1):
        try:
            texts.append(line.removesuffix(b"\r").decode())
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path}, row {number}: not UTF-8 ({error.reason}); save the file as UTF-8"
            ) from error
    return texts


def read_jsonl(path: str | Path) -> list[Record]:
    """Read one JSON object per line, so that the number of a row is that of its line.

    Parameters
    ----------
    path : str or Path
        An existing file.

    Raises
    ------
    InputError
        The file is missing, or a line is no JSON object; names file and line.
    """
    rows = []
    for number, line in enumerate(read_lines(path), start=1):
        row = _parse(line, f"{path}, row {number}", "write one JSON object per line")
        if not isinstance(row, dict):
            raise InputError(f"{path}, row {number}: not a JSON object; write one object per line")
        rows.append(row)
    return rows


def _parse(text: str, where: str, remedy: str) -> Any:
    try:
        content = json.loads(text)
        if "\\ud" in text.lower():  # half of a surrogate pair is no text and cannot be written
            json.dumps(content, ensure_ascii=False).encode()
    except json.JSONDecodeError as error:
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        raise InputError(
            f"{where}: not JSON ({error.msg} at {line}column {error.colno}); {remedy}"
        ) from error
    except UnicodeEncodeError as error:
        raise InputError(f"{where}: an escaped surrogate without its pair; {remedy}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: a number too long or nesting too deep; {remedy}") from error
    return content


def write_jsonl(path: str | Path, rows: Iterable[Record]) -> None:
    """Write one JSON object per line, UTF-8, the same bytes for the same rows.

    Parameters
    ----------
    path : str or Path
        Replaced whole.
    rows : iterable of dict
        One per line.
    """
    with whole(path) as partial, partial.open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> Any:
    """Read a JSON file.

    Parameters
    ----------
    path : str or Path
        An existing file.

    Raises
    ------
    InputError
        The file is missing, or no JSON.
    """
    text = "\n".join(read_lines(path))
    return _parse(text, str(path), "delete the file, `dvc repro` makes it again")


def write_json(path: str | Path, content: Any) -> None:
    """Write indented JSON with sorted keys: the same bytes for the same content.

    JSON knows no "not a number": it becomes null.

    Parameters
    ----------
    path : str or Path
        Replaced whole.
    content : dict, list, str, number, bool or None
        Nested at will.
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
    """Write UTF-8 text with Unix line ends on any machine.

    Parameters
    ----------
    path : str or Path
        Replaced whole.
    content : str
        Any text.
    """
    with whole(path) as partial:
        partial.write_text(content, encoding="utf-8", newline="\n")


def sha256(path: str | Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal.

    Parameters
    ----------
    path : str or Path
        An existing file.
    """
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
