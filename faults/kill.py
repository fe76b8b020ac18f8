"""Kills at random moments: every stage, `dvc repro`, `mlflow run`; and what is there afterwards.

    python faults/kill.py [--moments 5] [--seed 17] [--scratch FOLDER]

An undisturbed run is the measure. Then, for each stage, its output is removed, the stage is started
and killed at a random moment by SIGKILL, SIGTERM or SIGINT in turn, and started again. Counted are
outputs that differ from the undisturbed ones by a byte, stages that could not be started again,
temporary files left, runs that MLflow takes to be running, and personas scored twice. The same for
whole commands, whose process group is killed.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from project import CELL, checkout, environment, fingerprints, leftovers, make_model
from record import write
from warm import install

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
# stage: what it makes, below outputs/ but for the report
STAGES = {
    "base": "outputs/models/tiny",
    "questions": "outputs/tiny/questions",
    "personas": "outputs/tiny/personas.json",
    "centroids": "outputs/tiny/centroids",
    "geometry": "outputs/tiny/pairs.parquet",
    "evaluated": "outputs/tiny/evaluated.json",
    "baseline": "outputs/tiny/baseline",
    "contrast": "outputs/tiny/contrast/villain-42-contrastive",
    "train": "outputs/tiny/adapters/villain-42-contrastive",
    "evaluate": "outputs/tiny/scores/villain-42-contrastive",
    "analyse": "outputs/tiny/analysis/villain-42-contrastive",
    "report": "reports/tiny",
}
OF_A_CELL = ("contrast", "train", "evaluate", "analyse")
COMMANDS = {
    "dvc repro": ["dvc", "repro"],
    "mlflow run": [
        *("mlflow", "run", ".", "--env-manager", "local"),
        *("-P", f"source={CELL[0]}", "-P", f"seed={CELL[1]}"),
    ],
}


class Campaign:
    """A checkout, the fingerprints of an undisturbed run of it, and what was counted."""

    def __init__(self, scratch: Path, seed: int):
        self.draw = random.Random(seed)  # noqa: S311 (moments, not secrets)
        self.scratch = scratch
        self.project = checkout(scratch / "project", make_model(scratch / "model"))
        self.bin = install(scratch / "bin")
        self.environment = environment()
        self.environment["PATH"] = f"{self.bin}{os.pathsep}{self.environment['PATH']}"
        self.counts: dict[str, Counter[str]] = {}
        self.faults: list[str] = []
        self.warm = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("warm.py")), str(self.bin)],
            cwd=self.project,
            env=self.environment | {"PYTHONPATH": str(self.project / "src")},
        )
        while not (self.bin / "ready").exists():
            if self.warm.poll() is not None:
                sys.exit("the warm process could not be started")
            time.sleep(0.2)
        self.seconds: dict[str, float] = {}
        self.run("whole", COMMANDS["dvc repro"])
        self.expected = self.outputs()

    def outputs(self) -> dict[str, str]:
        """Fingerprints of all that the study computes; the report says when it was made."""
        found = fingerprints(self.project)
        return {name: digest for name, digest in found.items() if name.startswith("outputs/tiny/")}

    def start(self, command: Sequence[str]) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        self.log = (self.scratch / "log").open("wb")
        return subprocess.Popen(
            command,
            cwd=self.project,
            env=self.environment,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def run(self, name: str, command: Sequence[str]) -> bool:
        """Run a command to its end; whether it succeeded. Its time is kept."""
        start = time.monotonic()
        code = self.start(command).wait(timeout=600)
        self.seconds[name] = time.monotonic() - start
        return code == 0

    def hurt(self, name: str, command: Sequence[str], remove: Sequence[str]) -> None:
        """One moment: remove, start, kill, start again, compare."""
        counts = self.counts.setdefault(name, Counter())
        for path in remove:
            target = self.project / path
            shutil.rmtree(target) if target.is_dir() else target.unlink(missing_ok=True)
        number = SIGNALS[counts["kills"] % 3]
        process = self.start(command)
        time.sleep(self.draw.uniform(0, self.seconds[name]))
        finished = process.poll() is not None
        counts["kills"] += 1
        counts["too late"] += finished
        if not finished:
            os.killpg(process.pid, number)
        process.wait(timeout=600)
        time.sleep(0.2)  # until what stood behind the client is gone
        kept = {file: file.stat().st_mtime_ns for file in self.scored()}
        seconds = self.seconds[name]
        if not self.run(name, command):
            counts["blocked"] += 1
            self.note(name, number, (self.scratch / "log").read_text()[-500:])
        self.seconds[name] = max(seconds, 0.2)
        again = self.outputs()
        for path in sorted(self.expected.keys() | again.keys()):
            if self.expected.get(path) != again.get(path):
                counts["lost" if path not in again else "different"] += 1
                self.note(name, number, path)
        counts["left over"] += len(leftovers(self.project))
        counts["scored twice"] += sum(
            not file.exists() or file.stat().st_mtime_ns != when for file, when in kept.items()
        )
        for path in leftovers(self.project):
            self.note(name, number, path)

    def scored(self) -> list[Path]:
        """Finished files of scores."""
        tiny = self.project / "outputs" / "tiny"
        return [*tiny.glob("baseline/*.parquet"), *tiny.glob("scores/*/*.parquet")]

    def note(self, name: str, number: int, what: str) -> None:
        """Keep what went wrong."""
        self.faults.append(f"{name}, {signal.Signals(number).name}: {what}")
        print(self.faults[-1], file=sys.stderr)

    def running(self) -> int:
        """Count the runs in MLflow's store that say they run, with nobody left to end them."""
        from mlflow.tracking import MlflowClient

        client = MlflowClient(f"sqlite:///{self.project}/mlflow.db")
        experiments = [each.experiment_id for each in client.search_experiments()]
        return len(client.search_runs(experiments, "attributes.status = 'RUNNING'"))


def main() -> None:
    """Run the campaign and write its numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="Kills at random moments.")
    parser.add_argument("--moments", type=int, default=5, help="per stage")
    parser.add_argument("--commands", type=int, default=4, help="per whole command")
    parser.add_argument("--seed", type=int, default=17)
    parser.add_argument("--seconds", type=float, default=1800, help="no moment begins later")
    parser.add_argument("--scratch", type=Path)
    parser.add_argument("--stages", nargs="*", default=list(STAGES))
    parser.add_argument("--dry", action="store_true", help="write no document")
    given = parser.parse_args()
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as temporary:
        campaign = Campaign(given.scratch or Path(temporary), given.seed)
        try:
            for stage in given.stages:
                words = CELL if stage in OF_A_CELL else ()
                command = ["python", "-m", f"persona_leakage.pipeline.{stage}", *words]
                shutil.rmtree(campaign.project / STAGES[stage], ignore_errors=True)
                campaign.run(stage, command)
                for _ in range(given.moments):
                    if time.monotonic() - start > given.seconds:
                        break
                    checkpoints = ["outputs/tiny/checkpoints"] if stage == "train" else []
                    campaign.hurt(stage, command, [STAGES[stage], *checkpoints])
                print(stage, dict(campaign.counts.get(stage, {})), flush=True)
            for name, command in COMMANDS.items():
                for moment in range(given.commands):
                    if moment == 0:
                        campaign.seconds[name] = campaign.seconds["whole"]
                    if time.monotonic() - start > given.seconds:
                        break
                    campaign.hurt(name, command, ["outputs/tiny", "dvc.lock"])
                    print(name, dict(campaign.counts[name]), flush=True)
            campaign.run("last", COMMANDS["mlflow run"])
            running = campaign.running()
        finally:
            campaign.warm.kill()
    total = sum(campaign.counts.values(), Counter())
    content = {
        "seconds": round(time.monotonic() - start),
        "seed": given.seed,
        "running": running,
        "counts": {name: dict(counts) for name, counts in campaign.counts.items()},
        "faults": campaign.faults,
    }
    print(dict(total), f"runs that say they run: {running}")
    if not given.dry:
        write("kill", content)
    if campaign.faults or running:
        sys.exit(1)


if __name__ == "__main__":
    main()
