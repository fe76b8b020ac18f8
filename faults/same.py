"""The same bytes, whatever the machine's settings: hash seed, locale, time zone, threads, order.

    python faults/same.py

Each setting computes a tiny study anew, in one process, from the questions to the scores of two
cells; every file is compared with the first one's, byte for byte. What is logged is left out.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from project import checkout, environment, fingerprints, make_model
from record import write

SETTINGS: dict[str, dict[str, str]] = {
    "nothing": {"PYTHONHASHSEED": "0"},
    "hash seed": {"PYTHONHASHSEED": "4242"},
    "locale, time zone": {"LC_ALL": "tr_TR.UTF-8", "LANG": "C", "TZ": "Pacific/Chatham"},
    "threads": {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2"},
    "order of cells": {"CELLS": "reversed"},
}
ALONE = """
import os
from persona_leakage.pipeline import (
    base, baseline, centroids, contrast, evaluate, evaluated, geometry, personas, questions, train
)
from persona_leakage.study.cell import Cell
for stage in (base, questions, personas, centroids, geometry, evaluated, baseline):
    stage.main()
cells = [Cell("villain", 42, "contrastive"), Cell("villain", 7, "contrastive")]
for cell in cells[:: -1 if "CELLS" in os.environ else 1]:
    for stage in (contrast, train, evaluate):
        stage.main(cell)
"""


def main() -> None:
    """Compute, compare, and write the numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="The same bytes under other settings.")
    parser.add_argument("--dry", action="store_true", help="write no document")
    dry = parser.parse_args().dry
    runs: dict[str, dict[str, int]] = {}
    first: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as scratch:
        model = make_model(Path(scratch) / "model")
        for number, (name, setting) in enumerate(SETTINGS.items()):
            folder = checkout(Path(scratch) / str(number), model)
            (folder / "data").symlink_to("catalog")
            # nothing is logged: the address of a server that is not there
            logged = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}
            subprocess.run(
                [sys.executable, "-c", ALONE],
                cwd=folder,
                env=environment() | logged | setting,
                check=True,
                stderr=subprocess.DEVNULL,
            )
            found = fingerprints(folder / "outputs")
            first = first or found
            names = sorted(first.keys() | found.keys())
            different = [path for path in names if first.get(path) != found.get(path)]
            runs[name] = {"files": len(names), "different": len(different)}
            print(name, runs[name], different[:5], flush=True)
    if not dry:
        write("same", {"runs": runs})
    if any(run["different"] for run in runs.values()):
        sys.exit(1)


if __name__ == "__main__":
    main()
