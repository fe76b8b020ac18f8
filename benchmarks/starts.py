"""How long each stage takes to start, beside a bare interpreter and the libraries of models.

    python benchmarks/starts.py docs/performance/starts.json

A start is all that a stage imports before it reads anything: processor seconds, user and system, of
an interpreter that imports its module and ends. What some stages import once they have something to
compute is a row of its own. The least of the rounds counts: a busy machine makes a start slower.
"""

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml
from measuring import Report, children_seconds, processor

BARE = "python -c pass"
LIBRARIES = "torch and transformers"
IMPORTS = {
    BARE: "pass",
    LIBRARIES: "from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer",
    "persona-leakage --help": "import persona_leakage.cli.app",
}
LATER = {
    "analyse": "persona_leakage.pipeline.cell_analysis",
    "foresight": "persona_leakage.pipeline.foreseen",
    "report": "persona_leakage.report.write",
}
ROUNDS = 2


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser()
    parser.add_argument("output", type=Path)
    output = parser.parse_args().output
    stages = yaml.safe_load(Path("dvc.yaml").read_text())["stages"]
    modules = {
        name: re.search(r"python -m (\S+)", stage["cmd"])[1]
        for name, stage in stages.items()
        if "cmd" in stage
    }
    codes = IMPORTS | {name: f"import {module}" for name, module in modules.items()}
    codes |= {f"{name}, with its statistics": f"import {module}" for name, module in LATER.items()}
    report = Report(output, processor())
    rounds = [{name: seconds(code) for name, code in codes.items()} for _ in range(ROUNDS)]
    report.note("seconds", {name: min(each[name] for each in rounds) for name in codes})
    loads = {name: loads_a_model(codes[name]) for name in modules}
    report.note("stages", list(modules))
    report.note("with_model", [name for name, does in loads.items() if does])


def seconds(code: str) -> float:
    """Processor seconds of an interpreter that runs the code, on one core."""
    before = children_seconds()
    subprocess.run(
        [sys.executable, "-c", code], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    return children_seconds() - before


def loads_a_model(code: str) -> bool:
    """Whether a stage brings in what models are loaded with."""
    told = f"{code}\nimport sys\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return done.stdout.strip() == "True"


if __name__ == "__main__":
    main()
