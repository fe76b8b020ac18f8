"""DVC's lock file, which DVC writes in place: what stops it meanwhile leaves half of it.

DVC then refuses the file, and every command with it. Nothing is lost: DVC's cache of runs knows
what was computed from what, and the file is written anew without computing anything again.
"""

import sys
import time
from pathlib import Path

import yaml

LOCK = Path("dvc.lock")
WRITING = 5  # seconds after which nobody is still writing it


def mend(file: Path = LOCK) -> None:
    """Put a lock file that DVC would refuse aside, and say so.

    Parameters
    ----------
    file : Path
        There or not.
    """
    while file.exists() and not _whole(file):
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


def _whole(file: Path) -> bool:
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA as SCHEMA  # a second

    try:
        SCHEMA(yaml.CSafeLoader(file.read_bytes()).get_single_data())
    except Exception:  # of YAML, or of what DVC checks a schema with
        return False
    return True


if __name__ == "__main__":
    mend()
