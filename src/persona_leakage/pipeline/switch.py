"""Switch ``params.yaml`` to another study: ``make study STUDY=paper``; without a name, back.

    python -m persona_leakage.pipeline.switch paper
    python -m persona_leakage.pipeline.switch          # to the parameters that git has

Nothing is lost by it: a study that cannot be begun (its model or its questions cannot be had)
leaves ``params.yaml`` as it was, and parameters that stand nowhere else are kept in
``params.before.yaml``.
"""

import argparse
import difflib
import subprocess
import sys
from pathlib import Path

from persona_leakage.errors import InputError, command
from persona_leakage.files import parse_yaml, write_text
from persona_leakage.pipeline import lock
from persona_leakage.study.parameters import load_study

PARAMS = Path("params.yaml")
BEFORE = Path("params.before.yaml")
STUDIES = Path("studies")
BEGINNING = ("base", "questions")  # what may need a network


def wanted(name: str | None) -> str:
    """Return the text of a study's parameters, validated.

    Parameters
    ----------
    name : str or None
        Of a file in ``studies``, or of the study that git has as ``params.yaml``; ``None``: that
        one, whatever it is called.

    Raises
    ------
    InputError
        There is no such study, or its file is faulty.
    """
    if name is None:
        return _committed()
    path = STUDIES / f"{name}.yaml"
    names = sorted(file.stem for file in STUDIES.glob("*.yaml"))
    if name not in names and name == _committed_name():
        return _committed()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        guess = f"did you mean {near[0]}? " if near else ""
        raise InputError(f"study {name}: {guess}studies/ has {', '.join(names)}")
    load_study(path)
    return path.read_text(encoding="utf-8")


def _committed() -> str:
    process = subprocess.run(["git", "show", f"HEAD:./{PARAMS}"], capture_output=True, text=True)
    if process.returncode:
        raise InputError(f"{PARAMS}: git has none here; name a study of studies/ instead")
    return process.stdout


def _committed_name() -> str | None:
    try:
        content = parse_yaml(_committed(), PARAMS)[0]
    except InputError:
        return None
    return content.get("study") if isinstance(content, dict) else None


def keep_edited(text: str) -> None:
    """Keep parameters that neither git nor ``studies`` has.

    Parameters
    ----------
    text : str
        What ``params.yaml`` holds.
    """
    known = [file.read_text(encoding="utf-8") for file in STUDIES.glob("*.yaml")]
    if text not in known and text != _committed():
        write_text(BEFORE, text)
        print(f"{PARAMS} had been edited; it is kept as {BEFORE}")


@command
def main(name: str | None, begin: bool) -> None:
    """Put a study into ``params.yaml``.

    Parameters
    ----------
    name : str or None
        As for ``wanted``.
    begin : bool
        Whether to fetch its model and its questions, and to undo the switch where that fails.
    """
    text = wanted(name)
    before = PARAMS.read_text(encoding="utf-8") if PARAMS.exists() else None
    if text != before:
        if before is not None:
            keep_edited(before)
        write_text(PARAMS, text)
    if not begin:
        return
    code = 1
    try:
        code = lock.dvc("repro", *BEGINNING)
    finally:
        if code and before is not None and text != before:
            write_text(PARAMS, before)
            print(f"{PARAMS} is as it was before", file=sys.stderr)
    if code:
        sys.exit(code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Switch params.yaml to another study.")
    parser.add_argument("study", nargs="?", help="a file of studies/; none: what git has")
    parser.add_argument("--only", action="store_true", help="fetch neither model nor questions")
    arguments = parser.parse_args()
    main(arguments.study, not arguments.only)
