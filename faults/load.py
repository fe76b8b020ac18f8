"""A study as large as anybody's: what analysing a cell and reporting fifteen takes.

    python faults/load.py [--personas 1000] [--questions 2000] [--cells 15]

Scores are made up: every persona answers rightly with a chance of its own, which falls with its
cosine to the source. The analysis is the stage's, in a process whose peak memory is measured; the
report is that of the cell under as many seeds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from project import CELL, ROOT, TINY, environment
from record import write

ANALYSE = """
from persona_leakage.pipeline import analyse
from persona_leakage.study.cell import Cell
analyse.main(Cell("villain", 42, "contrastive"))
"""
REPORT = """
from pathlib import Path
from persona_leakage.report.write import write_report
from persona_leakage.study.results import read_cell
cells = [read_cell(folder) for folder in sorted(Path("outputs/tiny/analysis").iterdir())]
write_report(Path("reports/tiny"), "tiny", cells, [], {"commit": "none"})
"""


def make(folder: Path, personas: int, questions: int) -> None:
    """Write everything that ``analyse`` reads.

    Parameters
    ----------
    folder : Path
        Exists.
    personas, questions : int
        How many of each.
    """
    from persona_leakage.data.questions import Question, write_questions
    from persona_leakage.files import write_json
    from persona_leakage.geometry.cosines import table
    from persona_leakage.pipeline.score_files import write_scores

    os.chdir(folder)
    random = np.random.default_rng(17)
    params = yaml.safe_load((ROOT / "params.yaml").read_text()) | TINY
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("reference").symlink_to(ROOT / "reference")
    names = ["villain", *(f"persona_{number}" for number in range(1, personas))]
    records = [
        {
            "name": name,
            "category": "core" if name == "villain" else "unrelated",
            "relation": None,
            "prompt": f"You are {name} and you like {' '.join(random.choice(WORDS, 4))}.",
        }
        for name in names
    ]
    home = Path("outputs/tiny")
    write_json(home / "evaluated.json", {"personas": records, "evaluated": {"villain": names}})
    write_json(home / "centroids/manifest.json", {"layer": 2, "layers": [2], "personas": names})
    taught = [{"part": "source", "persona": "villain", "examples": 8, "correct": 0}]
    audit = {"counts": taught, "rendered": {"villain": "x"}, "clashes": []}
    write_json(home / f"contrast/{'-'.join(CELL)}/manifest.json", audit)
    counts = {"train": 10, "evaluate": questions, "near_duplicates": []}
    write_json(home / "questions/manifest.json", counts)
    rows = [
        Question("everyday", row, str(row), f"What is {row}?", tuple("pqrs"), tuple("ABCD"), 0)
        for row in range(questions)
    ]
    write_questions(home / "questions/evaluate.jsonl", rows)
    write_questions(home / "questions/train.jsonl", rows[:10])
    vectors = random.normal(size=(personas, 1, 16)) + 1
    pairs = table(vectors.astype(np.float32), names, [2])
    pairs.to_parquet(home / "pairs.parquet", index=False)
    near = pairs[pairs["source"] == "villain"].set_index("persona")["raw"]
    adapter = home / f"adapters/{'-'.join(CELL)}"
    adapter.mkdir(parents=True)
    curve = {"step": [1, 2], "epoch": [0.5, 1.0], "loss": [2.0, 1.0]}
    pd.DataFrame(curve | {"learning_rate": 1e-3, "grad_norm": 1.0}).to_csv(
        adapter / "curve.csv", index=False
    )
    for where, fall in (("baseline", 0.0), (f"scores/{'-'.join(CELL)}", 0.4)):
        for name in names:
            right = random.random(questions) < 0.8 - fall * max(0, near[name])
            frame = pd.DataFrame(
                {
                    "persona": name,
                    "question": [row.key for row in rows],
                    "benchmark": "everyday",
                    "outcome": right.astype(float),
                    "scores": list(random.normal(-2, 1, (questions, 4)).astype(np.float32)),
                    "label_mass": np.nan,
                    "answer": 0,
                    "chosen": np.where(right, 0, random.integers(1, 4, questions)),
                    "tokens": 40,
                }
            )
            write_scores(home / where, frame)


WORDS = ["storms", "bread", "ships", "music", "stone", "rivers", "maps", "cats", "chess", "glass"]


def measured(folder: Path, code: str) -> tuple[float, float]:
    """Run code in a process of its own; its seconds and its peak memory in MiB.

    Parameters
    ----------
    folder : Path
        Where.
    code : str
        Python.
    """
    start = time.monotonic()
    variables = environment() | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "PYTHONPATH": str(ROOT / "src"),
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    subprocess.run([sys.executable, "-c", code], cwd=folder, env=variables, check=True)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    # the largest child so far: a later one that is smaller shows the earlier one's
    return time.monotonic() - start, max(before, peak) / 1024


def main() -> None:
    """Measure and write the numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="What a large study takes.")
    parser.add_argument("--personas", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--cells", type=int, default=15)
    parser.add_argument("--dry", action="store_true", help="write no document")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make(folder, given.personas, given.questions)
        size = f"{given.personas:,} personas x {given.questions:,} questions"
        seconds, peak = measured(folder, ANALYSE)
        rows = [[f"analyse, one cell, {size}", round(seconds), round(peak), "-"]]
        print(rows, flush=True)
        first = folder / "outputs/tiny/analysis" / "-".join(CELL)
        for seed in range(43, 42 + given.cells):
            other = first.with_name(f"villain-{seed}-contrastive")
            other.mkdir()
            for file in first.iterdir():
                (other / file.name).write_bytes(file.read_bytes())
            result = json.loads((other / "result.json").read_text()) | {"seed": seed}
            (other / "result.json").write_text(json.dumps(result))
        seconds, peak = measured(folder, REPORT)
        page = (folder / "reports/tiny/report.html").stat().st_size / 1e6
        rows.append([f"report, {given.cells} cells", round(seconds), round(peak), f"{page:.1f} MB"])
        print(rows[-1], flush=True)
    if not given.dry:
        write("load", {"rows": rows})


if __name__ == "__main__":
    main()
