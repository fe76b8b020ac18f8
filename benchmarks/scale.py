"""Write ``docs/scale.md``: what a study past one machine takes, from what was measured.

    python benchmarks/scale.py             # the page
    python benchmarks/scale.py --measure   # first the table of such a study, made up: minutes
    python benchmarks/scale.py --cell outputs/qwen/analysis/villain-42-contrastive

The last measures what a finished cell takes of the table. Rates of the GPU are those of
``gpu_steps.py`` and ``several_gpus.py``, as ``docs/performance/*.json`` has them; what an analysis
takes is that of ``faults/load.py``, as ``docs/reliability/load.json`` has it.
"""

import argparse
import json
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
from render import FOLDER, load, table

from persona_leakage.files import write_json, write_parquet
from persona_leakage.pipeline import study_table
from persona_leakage.pipeline.cost import ANSWER
from persona_leakage.study.results import read_cell

PAGE = Path("docs/scale.md")
LOAD = Path("docs/reliability/load.json")
ANALYSIS = "analyse, one cell, 1,000 personas x 2,000 questions"  # row of LOAD: seconds, MiB
SOURCES, SEEDS, PERSONAS, BEHAVIOURS, GPUS = 100, 10, 1000, 5, 64
CELLS = SOURCES * SEEDS * BEHAVIOURS
QUERY = """SELECT source, count(*) AS bystanders, round(avg(delta), 1) AS change
FROM read_parquet('outputs/table/**/*.parquet', hive_partitioning = true, union_by_name = true)
WHERE behaviour = 'wrong_answers' AND role = 'bystander'
GROUP BY source ORDER BY change, source LIMIT 10"""


def measure(file):
    """Write the table of such a study, with numbers that are made up, and ask it the query."""
    import duckdb

    rng = np.random.default_rng(0)
    texts = {
        "study": "scale",
        "variant": "contrastive",
        "fingerprint": "0" * 16,
        "persona": [f"persona_{number}" for number in range(PERSONAS)],
        "category": [f"category_{number % 12}" for number in range(PERSONAS)],
        "relation": [f"source_{number % SOURCES}" for number in range(PERSONAS)],
        "prompt": [f"You are persona number {number} of many." for number in range(PERSONAS)],
        "role": ["source", "negative", *["bystander"] * (PERSONAS - 2)],
    }
    numbers = [
        "raw",
        "centred",
        "questions",
        "before",
        "before_low",
        "before_high",
        "after",
        "after_low",
        "after_high",
        "delta",
        "delta_low",
        "delta_high",
        "logit_delta",
        "p",
        "p_holm",
        "p_bh",
    ]
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "outputs", "table")
        began = time.process_time()
        for behaviour in ("wrong_answers", *(f"behaviour_{n}" for n in range(1, BEHAVIOURS))):
            for source in range(SOURCES):
                place = folder / f"behaviour={behaviour}" / "model=m" / f"source=source_{source}"
                for seed in range(SEEDS):
                    columns = {name: rng.normal(size=PERSONAS) for name in numbers}
                    frame = pd.DataFrame(texts | {"seed": seed} | columns)
                    write_parquet(place / f"scale-{seed}-contrastive.parquet", frame)
        written = time.process_time() - began
        files = list(folder.rglob("*.parquet"))
        began, used = time.perf_counter(), time.process_time()
        answer = duckdb.sql(QUERY.replace("outputs/table", str(folder))).fetchall()
        took, used = time.perf_counter() - began, time.process_time() - used
        assert len(answer) == 10
        found = {
            "cells": len(files),
            "rows": len(files) * PERSONAS,
            "bytes": sum(each.stat().st_size for each in files),
            "write_cpu_seconds": written,
            "query_seconds": took,
            "query_cpu_seconds": used,
            "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "duckdb": duckdb.__version__,
        }
    write_json(file, load("scale") | {"table": found})


def measure_cell(folder, file):
    """Write what a finished cell takes of the study's table."""
    cell = read_cell(folder)
    rows = study_table.rows_of(cell.result, cell.personas)
    with tempfile.TemporaryDirectory() as scratch:
        written = Path(scratch, "cell.parquet")
        write_parquet(written, rows)
        found = {"rows": len(rows), "bytes": written.stat().st_size, "columns": len(rows.columns)}
    write_json(file, load("scale") | {"cell": found})


def sums():
    """Add up what the study takes, from the measured rates."""
    steps, several, scale = load("gpu_steps"), load("several_gpus"), load("scale")
    scored = steps["scoring_7B"]
    start = (
        several["scoring"]["with_start"]["seconds"]["all"]
        - several["scoring"]["alone"]["seconds"]["all"]
    )
    seconds, mib, _ = json.loads(LOAD.read_text())["rows"][ANALYSIS]
    each = {
        "train": steps["training_7B"]["recorded"]["seconds"],
        "score": PERSONAS * scored["by_budget"][str(scored["chosen"])]["seconds_per_persona"],
        "start": 2 * start,  # of the training and of the scoring
        "analyse": seconds,
    }
    questions = several["scoring"]["questions"]
    adapter = 4 * load("gpu")["trainable_parameters"]
    gpu = CELLS * (each["train"] + each["score"] + each["start"]) + BEHAVIOURS * each["score"]
    answers = (CELLS + BEHAVIOURS) * PERSONAS * questions
    return {
        "gpu": steps["machine"]["gpu"],
        "each": each,
        "steps": steps["training_7B"]["recorded"]["steps"],
        "questions": questions,
        "gpu_hours": gpu / 3600,
        "days": gpu / GPUS / 86400,
        "share": {name: CELLS * each[name] / gpu for name in ("train", "score", "start")},
        "analysis_hours": CELLS * each["analyse"] / 3600,
        "analysis_mib": mib,
        "answers": answers,
        "scores_gb": answers * ANSWER / 1e9,
        "adapters_gb": CELLS * adapter / 1e9,
        "adapter_mb": adapter / 1e6,
        "rows": CELLS * PERSONAS,
        "table_mb": CELLS * PERSONAS * scale["cell"]["bytes"] / scale["cell"]["rows"] / 1e6,
        "table": scale["table"],
    }


def page():
    """Write the page in words."""
    told = sums()
    each, made = told["each"], told["table"]
    millions = made["rows"] / 1e6
    rows = [
        ["step", "seconds of a cell", "all cells", "share of the GPUs' time"],
        *(
            [
                words,
                f"{each[name]:,.0f}",
                f"{CELLS * each[name] / 3600:,.0f} GPU hours",
                f"{100 * told['share'][name]:.0f} %",
            ]
            for name, words in (
                ("train", f"training, {told['steps']} steps"),
                ("score", f"scoring, {PERSONAS:,} personas x {told['questions']} questions"),
                ("start", "starting twice: libraries, model"),
            )
        ),
    ]
    kept = [
        ["what", "how much", "where"],
        ["adapters", f"{told['adapters_gb']:,.0f} GB, {told['adapter_mb']:.0f} MB each", "folder"],
        [
            "scores, one an answer",
            f"{told['answers'] / 1e9:.2f} billion, {told['scores_gb']:,.0f} GB",
            "folder, bucket",
        ],
        [
            "study table, a persona under a cell a row",
            f"{told['rows'] / 1e6:.0f} million rows, {told['table_mb']:,.0f} MB in {CELLS:,} files",
            "`outputs/table`",
        ],
    ]
    return f"""# Past one machine

Made by `benchmarks/scale.py`, which adds up what `docs/performance/*.json` holds.

## The sums

{SOURCES} sources x {SEEDS} seeds x {PERSONAS:,} personas x {BEHAVIOURS} behaviours
are {CELLS:,} cells: a study of {SOURCES * SEEDS:,} for each behaviour. On {GPUS} GPUs as the
measured one ({told["gpu"]}), with the 7B shape and the paper study's recipe:

{table(rows)}

With the base model's scores, once for each behaviour, **{told["gpu_hours"]:,.0f} GPU hours,
{told["days"] * 24:.0f} hours on {GPUS} GPUs**. Nearly all of it is asking; half the personas halve
it. Only multiple-choice scoring was measured: a behaviour that is asked otherwise takes its own
time.

Analyses take at most {told["analysis_hours"]:,.0f} core hours: {each["analyse"]:.0f} s of a core
and {told["analysis_mib"]:,} MiB each, measured with {PERSONAS:,} personas and 2,000 questions
([load](reliability.md#load)). They run on the cell's machine.

{table(kept)}

DVC's cache links what it can; where it cannot, count the folder twice.

## With Ray

    uv sync --inexact --extra ray
    persona-leakage run --ray                     # a cluster of this machine alone
    persona-leakage run --ray --gpus 0.5          # two cells on a GPU

On several machines, which see the project's folder by the same path, `ray start --head` on one and
`ray start --address=...` on the others come first. What cells share is prepared once, by DVC; then
the cells run side by side, without DVC, whose lock lets one command run at a time; then `dvc
commit` notes them, and `dvc repro` finds the report alone left to do. A cell whose worker is killed
is computed again, up to three times, and goes on from its last checkpoint; it has one folder and
one run in MLflow all the same. What failed is named at the end; the same command computes what is
missing.

MLflow's file beside the project is for one machine. With several, name a server
([MLflow](mlflow.md#a-teams-server)) in `MLFLOW_TRACKING_URI`; workers get what begins with
`MLFLOW_`, `AWS_` or `PERSONA_LEAKAGE_` of the environment in which the command was started.

## With Slurm

    python -m persona_leakage.pipeline.cluster prepare      # once; says how many cells there are
    sbatch --wait --array=0-24 deploy/cells.sbatch          # of 25 cells
    python -m persona_leakage.pipeline.cluster collect      # once; names what is missing

`deploy/cells.sbatch` asks for a GPU a task; `PER_TASK=10` gives each task ten cells. The same array
again leaves finished cells alone.

## Scores in a bucket

    export PERSONA_LEAKAGE_SCORES=s3://bucket/scores
    export AWS_ACCESS_KEY_ID=... AWS_SECRET_ACCESS_KEY=... AWS_DEFAULT_REGION=...
    export AWS_ENDPOINT_URL=http://127.0.0.1:9000           # where it is not Amazon's

The scores of a persona, question by question, are then also written to
`s3://bucket/scores/<hash>.parquet` as soon as they are there, under the hash of all that they come
from: weights, questions, prompt, behaviour, precision, code. What the bucket has is taken from it
and not scored again, by whichever machine asks. A bucket that is not there is refused before the
model is loaded; one that goes away costs a warning, and the scores are sent when the stage runs
again. It is a place, not a part of the study: no result depends on it.

## The study's table

    python -m persona_leakage.pipeline.study_table          # or a folder that studies share

writes a row for every persona under every finished cell, a file for each cell, in folders that are
columns: `outputs/table/behaviour=wrong_answers/model=.../source=villain/...`. DuckDB reads it as it
lies:

```sql
{QUERY}
```

Polars likewise, without reading what the filter leaves out:

```python
import polars as pl

table = pl.scan_parquet("outputs/table/**/*.parquet", hive_partitioning=True)
table.filter(pl.col("source") == "villain", pl.col("p_holm") < 0.05).collect()
```

Over a table of {millions:.0f} million rows in {made["cells"]:,} files, filled with numbers that are
made up, the query takes {made["query_cpu_seconds"]:.1f} s of a core (DuckDB {made["duckdb"]}).
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="What a study past one machine takes.")
    parser.add_argument("--measure", action="store_true", help="the table first: minutes")
    parser.add_argument("--cell", type=Path, help="first what a finished cell takes of it")
    given = parser.parse_args()
    if given.measure:
        measure(FOLDER / "scale.json")
    if given.cell:
        measure_cell(given.cell, FOLDER / "scale.json")
    PAGE.write_text(page(), encoding="utf-8")
