"""The data stages under other versions of Python: the same bytes.

    python faults/pythons.py /usr/bin/python3.12 /usr/bin/python3.13

For each interpreter named, an environment with the locked versions of what these stages import
(a lock may hold several, by Python), made by uv. The stages up to the first model compute the
questions and the personas of the study; every file is compared with this interpreter's.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from project import ROOT, checkout, environment, fingerprints
from record import write

NEEDED = (
    "jinja2",
    "numpy",
    "pandas",
    "pandera[pandas]",
    "pyarrow",
    "pydantic",
    "pyyaml",
    "snowballstemmer",
)
DATA = """
import platform, numpy, pandas
from persona_leakage.pipeline import personas, questions, study
for stage in (study, questions, personas):
    stage.main()
print(f"Python {platform.python_version()}, numpy {numpy.__version__}, pandas {pandas.__version__}")
"""


def environment_of(python: str, folder: Path) -> Path:
    """Make an environment; return its interpreter.

    Parameters
    ----------
    python : str
        The interpreter to make it of.
    folder : Path
        Is made.
    """
    lock = subprocess.run(
        ["uv", "export", "--quiet", "--locked", "--no-hashes", "--no-emit-project"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    pins = folder.with_suffix(".txt")
    pins.write_text(lock.stdout)
    made = folder / "bin" / "python"
    subprocess.run(["uv", "venv", "--quiet", "--python", python, str(folder)], check=True)
    install = ["uv", "pip", "install", "--quiet", "--python", str(made), "--constraint", str(pins)]
    subprocess.run([*install, *NEEDED], check=True)
    return made


def main() -> None:
    """Compute, compare, and write the numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="The same bytes under other Pythons.")
    parser.add_argument("pythons", nargs="+", help="interpreters")
    given = parser.parse_args()
    runs: dict[str, dict[str, int]] = {}
    first: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for number, python in enumerate([sys.executable, *given.pythons]):
            made = python if number == 0 else environment_of(python, Path(scratch) / f"v{number}")
            folder = checkout(Path(scratch) / str(number), ROOT / "no model")
            (folder / "data").symlink_to("catalog")
            done = subprocess.run(
                [str(made), "-c", DATA],
                cwd=folder,
                env=environment(),
                check=True,
                stdout=subprocess.PIPE,
                text=True,
            )
            found = fingerprints(folder / "outputs")
            first = first or found
            names = sorted(first.keys() | found.keys())
            different = [path for path in names if first.get(path) != found.get(path)]
            runs[done.stdout.splitlines()[-1]] = {"files": len(names), "different": len(different)}
            print(done.stdout.splitlines()[-1], len(names), different, flush=True)
    write("pythons", {"runs": runs})
    if any(run["different"] for run in runs.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
