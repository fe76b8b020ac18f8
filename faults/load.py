"""A study as large as anybody's: what analysing a cell and reporting fifteen takes.

    python faults/load.py [--personas 1000] [--questions 2000] [--cells 15]

Scores are made up: every persona answers rightly with a chance of its own, which falls with its
cosine to the source. The analysis is the stage's, in a process whose peak memory is measured; the
report is that of the cell under as many seeds. Then a store with a thousand runs, a comparison of
two hundred, and one process that analyses and reports for an hour.
"""

import argparse
import ast
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from project import CELL, ROOT, TINY, environment
from record import read, write

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
    params["contrast"]["negatives"] = ["persona_1"]
    Path("params.yaml").write_text(yaml.safe_dump(params))
    Path("reference").symlink_to(ROOT / "reference")
    names = ["villain", "assistant", "no_system"]
    names += [f"persona_{number}" for number in range(1, personas - 2)]
    records = [
        {
            "name": name,
            "category": CATEGORIES.get(name, "unrelated"),
            "relation": None,
            "prompt": f"You are {name} and you like {' '.join(random.choice(WORDS, 4))}.",
        }
        for name in names
    ]
    records[2]["prompt"] = None
    home = Path("outputs/tiny")
    write_json(home / "personas.json", {"personas": records, "measured": names})
    write_json(home / "evaluated.json", {"personas": records, "evaluated": {"villain": names}})
    write_json(home / "centroids/manifest.json", {"layer": 2, "layers": [2], "personas": names})
    taught = [{"part": "source", "persona": "villain", "examples": 12, "correct": 0}]
    audit = {"counts": taught, "rendered": {"villain": "x"}, "clashes": []}
    write_json(home / f"contrast/{'-'.join(CELL)}/manifest.json", audit)
    counts = {"train": 12, "evaluate": questions, "near_duplicates": []}
    write_json(home / "questions/manifest.json", counts)
    rows = [
        Question("everyday", row, str(row), f"What is {row}?", tuple("pqrs"), tuple("ABCD"), 0)
        for row in range(questions)
    ]
    write_questions(home / "questions/evaluate.jsonl", rows)
    trained = [replace(row, wrong=1) for row in rows[:12]]
    write_questions(home / "questions/train.jsonl", trained)
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


CATEGORIES = {"villain": "core", "assistant": "core", "no_system": "condition"}
WORDS = ["storms", "bread", "ships", "music", "stone", "rivers", "maps", "cats", "chess", "glass"]


def measured(folder: Path, code: str) -> tuple[float, float]:
    """Run code in a process of its own; its processor's seconds and its peak memory in MiB.

    Parameters
    ----------
    folder : Path
        Where.
    code : str
        Python.
    """
    (folder / "tmp").mkdir(exist_ok=True)
    variables = environment() | {
        "MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db",
        "TMPDIR": str(folder / "tmp"),
        "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT / "faults")]),
    }
    process = subprocess.Popen([sys.executable, "-c", code], cwd=folder, env=variables)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{folder}: {code}: ended with {process.returncode}")
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


OPENED = """<script>addEventListener("load", () => setTimeout(() => {
  const [entry] = performance.getEntriesByType("navigation");
  document.body.setAttribute("opened", Math.round(entry.loadEventEnd));
}));</script></head>"""


def opened(page: Path, folder: Path) -> float | None:
    """Open a page in a browser; seconds until it had loaded and drawn, ``None`` without a browser.

    Parameters
    ----------
    page : Path
        Of a report.
    folder : Path
        For the browser's own files.
    """
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        return None
    text = page.read_text(encoding="utf-8")
    policy = text[text.index("<meta http-equiv") :].partition(">")[0] + ">"
    copy = folder / "page.html"
    copy.write_text(text.replace(policy, "").replace("</head>", OPENED, 1), encoding="utf-8")
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync")
    quiet = ("--disable-background-networking", "--disable-component-update")
    where = (f"--user-data-dir={folder / 'profile'}", "--dump-dom", copy.as_uri())
    done = subprocess.run([browser, *flags, *quiet, *where], capture_output=True, text=True)
    return int(done.stdout.split('opened="')[1].partition('"')[0]) / 1000


STORE = """
import time
from persona_leakage.pipeline.tracking import cell_run
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
study = load_study()
for seed in range({runs}):
    with cell_run(study, Cell("villain", seed, "contrastive")) as run:
        run.log_metrics({{"source_delta": -1.0 * seed}})
start = time.process_time()
for seed in range({runs}, {runs} + 10):
    with cell_run(study, Cell("villain", seed, "contrastive")) as run:
        run.log_metrics({{"source_delta": -1.0 * seed}})
open("one", "w").write(str((time.process_time() - start) / 10))
"""
RUNS = """
from pathlib import Path
from persona_leakage.pipeline.tracking import cell_run
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
ids = []
for folder in sorted(Path("outputs/tiny/analysis").iterdir()):
    _, seed, _ = folder.name.split("-")
    with cell_run(load_study(), Cell("villain", int(seed), "contrastive")) as run:
        run.log_folder(folder, "analysis")
        ids.append(run.run_id)
Path("ids").write_text(" ".join(ids))
"""
COMPARE = """
from pathlib import Path
from persona_leakage.pipeline import compare
compare.main(Path("ids").read_text().split(), Path("compared"))
"""
SOAK = """
import gc, os, time
from pathlib import Path
from persona_leakage.pipeline import analyse, report
from persona_leakage.pipeline.tracking import cell_run
from persona_leakage.report.write import write_report
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import load_study
from persona_leakage.study.results import read_cell
cell = Cell("villain", 42, "contrastive")
def state():
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    left = sum(1 for _ in Path(".").rglob("*"))  # temporary files too
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20, len(os.listdir("/proc/self/fd")), left
end, rounds, first = time.monotonic() + {seconds}, 0, None
while time.monotonic() < end or rounds < 4:
    for note in Path("outputs/tiny/finished").glob("*"):
        note.unlink()
    analyse.main(cell)
    cells = [read_cell(Path("outputs/tiny/analysis/villain-42-contrastive"))]
    write_report(Path("reports/tiny"), "tiny", cells, [], {{"commit": "none"}})
    rounds += 1
    if rounds == 3:  # what is loaded on first use is there
        first = state()
last = state()
open("soak", "w").write(repr((rounds, first, last)))
"""


def main() -> None:
    """Measure and write the numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="What a large study takes.")
    parser.add_argument("--personas", type=int, default=1000)
    parser.add_argument("--questions", type=int, default=2000)
    parser.add_argument("--cells", type=int, default=15)
    parser.add_argument("--runs", type=int, default=1000, help="in MLflow's store")
    parser.add_argument("--compared", type=int, default=200, help="runs that are compared")
    parser.add_argument("--soak", type=int, default=3600, help="seconds")
    parser.add_argument("--parts", nargs="*", default=[*PARTS])
    parser.add_argument("--dry", action="store_true", help="write no document")
    given = parser.parse_args()
    content = read("load") or {"rows": {}}
    for part in given.parts:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            for row in PARTS[part](folder, given):
                content["rows"][row[0]] = row[1:]
                print(row, flush=True)
                if not given.dry:
                    write("load", content)


Row = list[str | int]


def _study(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    """One analysis, and the report of as many seeds of it."""
    make(folder, given.personas, given.questions)
    size = f"{given.personas:,} personas x {given.questions:,} questions"
    seconds, peak = measured(folder, ANALYSE)
    yield [f"analyse, one cell, {size}", round(seconds), round(peak), "-"]
    repeat(folder, given.cells)
    seconds, peak = measured(folder, REPORT)
    page = folder / "reports/tiny/report.html"
    name = f"report of {given.cells} such cells"
    yield [name, round(seconds), round(peak), f"{page.stat().st_size / 1e6:.1f} MB"]
    loaded = opened(page, folder)
    if loaded is not None:
        yield ["that page, opened in a browser", loaded, "-", "-"]


def _compare(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Compare runs of MLflow: of each, the analysis is fetched and shown by itself."""
    make(folder, 100, 100)
    measured(folder, ANALYSE)
    repeat(folder, given.compared)
    measured(folder, RUNS)
    seconds, peak = measured(folder, COMPARE)
    size = sum(file.stat().st_size for file in (folder / "compared").rglob("*") if file.is_file())
    name = f"compare {given.compared} runs of 100 personas"
    yield [name, round(seconds), round(peak), f"{size / 1e6:.1f} MB"]


def repeat(folder: Path, cells: int) -> None:
    """Have as many cells as asked for: the one that is analysed, under other seeds.

    Parameters
    ----------
    folder : Path
        Of ``make``, its cell analysed.
    cells : int
        How many, with that one.
    """
    first = folder / "outputs/tiny/analysis" / "-".join(CELL)
    for seed in range(43, 42 + cells):
        other = first.with_name(f"villain-{seed}-contrastive")
        other.mkdir()
        for file in first.iterdir():
            (other / file.name).write_bytes(file.read_bytes())
        result = json.loads((other / "result.json").read_text()) | {"seed": seed}
        (other / "result.json").write_text(json.dumps(result))


def _store(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Open a stage's run among so many others."""
    make(folder, 8, 12)
    _, peak = measured(folder, STORE.format(runs=given.runs))
    one = float((folder / "one").read_text())
    size = f"{(folder / 'mlflow.db').stat().st_size / 1e6:.1f} MB"
    yield [f"a run more among {given.runs:,}", round(one, 2), round(peak), size]


def _soak(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    """One process that analyses and reports again and again."""
    make(folder, 24, 40)
    _, peak = measured(folder, SOAK.format(seconds=given.soak))
    rounds, first, last = ast.literal_eval((folder / "soak").read_text())
    grown = [round(after - before) for before, after in zip(first, last, strict=True)]
    more = f"{grown[0]:+} MiB, {grown[1]:+} open files, {grown[2]:+} files"
    yield [f"soak, {rounds} analyses and reports", given.soak, round(peak), more]


SIZES = (1, 4, 16)
BASE = {"personas": 50, "questions": 100, "cells": 1}


def _growth(folder: Path, given: argparse.Namespace) -> Iterator[Row]:
    """Analyse and report at 1, 4 and 16 times the personas, the questions, the cells."""
    least = _made(folder / "least", 8, 12)
    begun = {code: measured(least, code)[0] for code in (ANALYSE, REPORT)}  # mostly imports
    for what, base in BASE.items():
        seconds, peaks = [], []
        code = REPORT if what == "cells" else ANALYSE
        for times in SIZES:
            size = BASE | {what: base * times}
            home = _made(folder / f"{what}{times}", size["personas"], size["questions"])
            if what == "cells":
                measured(home, ANALYSE)
                repeat(home, size["cells"])
            took, peak = measured(home, code)
            seconds.append(took - begun[code])
            peaks.append(peak)
        slope = float(np.polyfit(np.log(SIZES), np.log(seconds), 1)[0])
        doing = "report" if what == "cells" else "analyse"
        yield [
            f"{doing}, {' / '.join(f'{base * times:,}' for times in SIZES)} {what}",
            " / ".join(f"{each:.1f}" for each in seconds),
            " / ".join(f"{each:.0f}" for each in peaks),
            f"seconds grow by the power {slope:.2f}",
        ]


def _made(folder: Path, personas: int, questions: int) -> Path:
    folder.mkdir()
    make(folder, personas, questions)
    return folder


PARTS = {
    "study": _study,
    "growth": _growth,
    "store": _store,
    "compare": _compare,
    "soak": _soak,
}


if __name__ == "__main__":
    main()
