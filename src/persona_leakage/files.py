"""Reading and writing files so that a half-written output is never taken for a whole one."""

import codecs
import errno
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from persona_leakage.errors import InputError

if TYPE_CHECKING:  # most of what imports this module needs no tables
    import numpy as np
    import pandas as pd
    import pyarrow as pa

Record = dict[str, Any]
Model = TypeVar("Model", bound=BaseModel)
MADE_AGAIN = "delete it, `dvc repro` makes it again"
_numbers = count()


@contextmanager
def whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it into place only when the block succeeds.

    Works for a file and for a directory (the block creates either). Whatever goes wrong, nothing
    half-written is left under either name. Each writer has a temporary name of its own, so that of
    two at once the last one's output stays, whole; what a killed one left is removed by the next.

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
    sweep(path.parent, path.name)
    ours = f"{os.getpid()}-{next(_numbers)}"
    partial = path.with_name(f".{path.name}.{ours}.partial")
    try:
        yield partial
        _put(partial, path, ours)
    except Exception as error:
        number = _refused(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(
                f"{path}: the disk is full, nothing was kept of this file; "
                "free some space and run `dvc repro` again, finished stages are not recomputed"
            ) from error
        if number is not None and not isinstance(error, OSError):
            raise OSError(number, os.strerror(number), str(path)) from error
        raise
    finally:
        _remove(partial)


def _refused(error: Exception) -> int | None:
    """Return the number of what the system refused; libraries in Rust have it in their words."""
    if isinstance(error, OSError):
        return error.errno
    found = re.search(r"\(os error (\d+)\)", str(error))
    return int(found[1]) if found else None


@contextmanager
def scratch() -> Iterator[Path]:
    """Yield a folder for what is thrown away; what killed processes left of theirs is removed."""
    temporary = Path(tempfile.gettempdir())
    name = f"persona-leakage-{os.getuid()}"
    sweep(temporary, name)
    folder = temporary / f".{name}.{os.getpid()}-{next(_numbers)}.partial"
    folder.mkdir(mode=0o700)
    try:
        yield folder
    finally:
        _remove(folder)


def _put(partial: Path, path: Path, ours: str) -> None:
    """Rename into place: a file replaces a file at once, a folder is put aside first."""
    if not partial.is_dir() and not path.is_dir():
        partial.replace(path)
        return
    aside = path.with_name(f".{path.name}.{ours}.aside")
    while True:
        with suppress(FileNotFoundError):
            path.rename(aside)
        try:
            partial.rename(path)
            break
        except OSError as error:  # another writer put its own there meanwhile: it goes as well
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                raise
            _remove(aside)
    _remove(aside)


def sweep(folder: Path, output: str | None = None) -> None:
    """Remove what killed writers left in a folder; bring back what one had put aside.

    Parameters
    ----------
    folder : Path
        There or not.
    output : str, optional
        The file or folder in it whose writers are meant; those of all else.
    """
    name = r".+" if output is None else re.escape(output)
    left = re.compile(rf"\.({name})\.(\d+)-\d+\.(partial|aside)")
    for file in list(folder.iterdir()) if folder.is_dir() else []:
        match = left.fullmatch(file.name)
        if match is None or running(int(match[2])):
            continue
        with suppress(FileNotFoundError):  # another process was faster
            if match[3] == "aside" and not (folder / match[1]).exists():
                file.rename(folder / match[1])
            else:
                _remove(file)


def running(process: int) -> bool:
    """Tell whether a process of this number runs on this machine.

    Parameters
    ----------
    process : int
        Its number.
    """
    try:
        os.kill(process, 0)  # signal 0 asks only whether there is one
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        pass  # somebody else's
    return True


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


def read_as(path: str | Path, kind: type[Model]) -> Model:
    """Read a JSON file that another stage wrote, as what it has to be.

    Parameters
    ----------
    path : str or Path
        An existing file.
    kind : type
        A pydantic model.

    Raises
    ------
    InputError
        The file is missing, no JSON, or not of that kind; names the key.
    """
    try:
        return kind.model_validate(read_json(path))
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(map(str, fault["loc"])) or "the whole"
        raise InputError(f"{path}: damaged ({key}: {fault['msg']}); {MADE_AGAIN}") from error


def read_parquet(path: Path) -> "pa.Table":
    """Read a parquet file with the checksums of its pages; what is wrong is Arrow's to say.

    Parameters
    ----------
    path : Path
        Of ``write_parquet``.
    """
    import pyarrow.parquet as pq

    return pq.read_table(path, page_checksum_verification=True)


def read_table(path: str | Path, columns: Sequence[str]) -> "pd.DataFrame":
    """Read a table that another stage wrote: CSV, or parquet with the checksums of its pages.

    Parameters
    ----------
    path : str or Path
        An existing file.
    columns : sequence of str
        What it has at least.

    Raises
    ------
    InputError
        The file is missing, damaged, or another table.
    """
    import pandas as pd
    import pyarrow as pa

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file; `dvc repro` makes it")
    try:
        frame = pd.read_csv(path) if path.suffix == ".csv" else read_parquet(path).to_pandas()
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(f"{path}: damaged ({str(error)[:80]}); {MADE_AGAIN}") from error
    if lacking := [column for column in columns if column not in frame]:
        raise InputError(f"{path}: damaged (no column {', '.join(lacking)}); {MADE_AGAIN}")
    return frame


def read_tensor(path: str | Path, name: str, shape: tuple[int, ...]) -> "np.ndarray":
    """Read one tensor of a safetensors file that another stage wrote.

    Parameters
    ----------
    path : str or Path
        An existing file.
    name : str
        Of the tensor.
    shape : tuple of int
        Its first dimensions.

    Raises
    ------
    InputError
        The file is missing or damaged, or the tensor is another, or has a value that is not finite.
    """
    import numpy as np
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; `dvc repro` makes it")
    try:
        values = load_file(path)[name]
    except (SafetensorError, LookupError, ValueError, TypeError) as error:
        raise InputError(f"{path}: damaged ({str(error)[:80]}); {MADE_AGAIN}") from error
    if values.shape[: len(shape)] != shape or not np.isfinite(values).all():
        raise InputError(f"{path}: damaged (not {shape} finite numbers); {MADE_AGAIN}")
    return values


def write_parquet(
    path: str | Path, frame: "pd.DataFrame", marks: Mapping[bytes, bytes] = {}
) -> None:
    """Write a table as parquet, a checksum to each page, so that a flipped bit is noticed.

    Parameters
    ----------
    path : str or Path
        Replaced whole.
    frame : DataFrame
        Its index is not kept.
    marks : mapping
        Kept beside the schema.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pandas(frame, preserve_index=False)
    content = content.replace_schema_metadata({**(content.schema.metadata or {}), **marks})
    with whole(path) as partial:
        pq.write_table(content, partial, compression="zstd", write_page_checksum=True)


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


class _Plain(yaml.SafeLoader):
    """YAML without what lets a small file stand for a large one, or say two things at once."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, "an alias; write it out", mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := next((name for name in names if names.count(name) > 1), None):
            problem = f"the key {twice[:50]} twice; keep one"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)
        return super().construct_mapping(node, deep)


def parse_yaml(text: str, path: str | Path) -> tuple[Any, yaml.Node | None]:
    """Parse YAML: plain data only, no aliases, no key twice.

    Parameters
    ----------
    text : str
        The file's.
    path : str or Path
        Its name, for messages.

    Returns
    -------
    content : dict, list, str, number, bool, date or None
        What it says.
    node : yaml.Node or None
        The same with marks that say where; ``None`` for an empty file.

    Raises
    ------
    InputError
        Names the line and what is wrong with it.
    """
    try:
        loader = _Plain(text)
        node = loader.get_single_node()
        return (loader.construct_document(node) if node else None), node
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{path}, line {mark.line + 1}" if mark else f"{path}"
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "unreadable"
        raise InputError(f"{where}: not YAML ({problem}); correct the line") from error
    # what its constructors raise at tags and numbers that are none
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: a value that is not what its form says ({str(error)[:80]}); correct it"
        ) from error
    except RecursionError as error:
        raise InputError(f"{path}: nested too deep; a study has a few levels") from error


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file.

    Parameters
    ----------
    path : str or Path
        An existing file.

    Raises
    ------
    InputError
        The file is missing, or not YAML as ``parse_yaml`` has it.
    """
    return parse_yaml("\n".join(read_lines(path)), path)[0]


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


def sha256_below(folder: Path) -> dict[str, str]:
    """SHA-256 of every file below a folder, by its path there.

    Parameters
    ----------
    folder : Path
        Without files where it is not there.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256(file) for file in files}
