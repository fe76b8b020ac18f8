"""Files that DVC writes in place: what stops it meanwhile leaves half of them.

DVC then refuses the file, and every command with it. Nothing is lost: the lock file is written
anew, from DVC's cache of runs, which knows what was computed from what; nothing is computed again.
The other file says which command is at work on what, and is empty when none is.
"""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

WRITING = 5  # seconds after which nobody is still writing it


def dvc(*words: str) -> int:
    """Run DVC, once the files that it would refuse are out of its way; return its exit status.

    Parameters
    ----------
    *words : str
        Its arguments.
    """
    mend()
    return subprocess.run([sys.executable, "-m", "dvc", *words]).returncode


def mend(folder: Path = Path()) -> None:
    """Put the files that DVC would refuse aside, and say so.

    Parameters
    ----------
    folder : Path
        Of the project.
    """
    _mend(folder / "dvc.lock", _locked)
    _mend(folder / ".dvc/tmp/rwlock", json.loads)


def _mend(file: Path, read: Callable[[bytes], Any]) -> None:
    while file.exists() and not _whole(file, read):
        left = file.stat().st_mtime + WRITING - time.time()
        if left > 0:
            time.sleep(min(left, 0.2))
            continue
        aside = file.with_name(f"{file.name}.damaged")
        file.replace(aside)
        print(
            f"warning: {file} had been cut short and is now {aside}; DVC writes it anew, and "
            "computes nothing again that is finished",
            file=sys.stderr,
        )


def _locked(text: bytes) -> Any:
    content = yaml.CSafeLoader(text).get_single_data()
    try:
        from dvc.schema import (  # type: ignore[import-untyped]
            COMPILED_LOCKFILE_SCHEMA as SCHEMA,
        )
    except ImportError:  # DVC promises no such name: without it, what is YAML passes for whole
        return content
    return SCHEMA(content)


def _whole(file: Path, read: Callable[[bytes], Any]) -> bool:
    try:
        read(file.read_bytes())
    except Exception:  # of YAML, of JSON, or of what DVC checks a schema with
        return False
    return True


if __name__ == "__main__":
    mend()
