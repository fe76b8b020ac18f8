"""Kills at random moments: every stage, workers side by side, `dvc repro`, `mlflow run`.

    python faults/kill.py [--moments 60] [--only train baseline] [--seconds 3600]

An undisturbed run is the measure. Each moment begins from the same files: all that was computed,
less what the stage makes. The stage is started, its process group killed at a random moment of its
work by SIGKILL, SIGTERM or Ctrl-C in turn, and started again. Then everything is compared, byte for
byte. What was counted is kept after every round, and a campaign that was cut short goes on;
``--anew`` begins one.
"""

import argparse
import hashlib
import os
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import warm
import yaml
from project import CELL, checkout, environment, leftovers, make_model
from record import read, write

SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
PACKAGE = "persona_leakage.pipeline"
OTHER = ("villain", "7", "contrastive")
HOME = "outputs/tiny"
# what a command may change; all of it begins each moment as it was
CHANGES = (
    *("outputs", "reports", "kept", "mlruns", "mlflow.db", "params.yaml", "params.before.yaml"),
    *("data", "dvc.lock", ".dvc/cache", ".dvc/tmp"),
)
PERSONAS = ("*/baseline/*.parquet", "*/scores/*/*.parquet")  # below outputs
COPIES = ("restore",)  # puts scores back, over what is there: computes none


@dataclass(frozen=True)
class Attempt:
    """Something to be killed.

    Attributes
    ----------
    state : str
        What is there when it begins: the name of a ``Campaign.state``.
    commands : tuple of tuple of str
        Modules with their arguments, started at once.
    without : tuple of str
        What it makes: taken away first.
    """

    state: str
    commands: tuple[tuple[str, ...], ...]
    without: tuple[str, ...] = ()


def stage(name: str, *words: str) -> tuple[str, ...]:
    """Name a stage's command.

    Parameters
    ----------
    name, *words : str
        The stage and its arguments.
    """
    return (f"{PACKAGE}.{name}", *words)


def of_cells(name: str, *cells: Sequence[str]) -> tuple[tuple[str, ...], ...]:
    """Name the commands of a stage for several cells at once.

    Parameters
    ----------
    name : str
        The stage.
    *cells : sequence of str
        Source, seed, variant.
    """
    return tuple(stage(name, *cell) for cell in cells)


_CELL = "-".join(CELL)
EARLIER = "outputs/earlier"  # from where a stage would bring back what it made
_TRAINED = (f"{HOME}/adapters", f"{HOME}/beside/adapters", f"{HOME}/checkpoints", EARLIER)
_SCORED = (f"{HOME}/scores", f"{HOME}/beside/scores", "outputs/scored")
STAGES = {
    "study": Attempt("done", (stage("study"),), ("outputs/valid",)),
    "base": Attempt("done", (stage("base"),), ("outputs/models",)),
    "questions": Attempt("done", (stage("questions"),), (f"{HOME}/questions",)),
    "personas": Attempt("done", (stage("personas"),), (f"{HOME}/personas.json",)),
    "centroids": Attempt("done", (stage("centroids"),), (f"{HOME}/centroids", EARLIER)),
    "geometry": Attempt("done", (stage("geometry"),), (f"{HOME}/pairs.parquet",)),
    "predictors": Attempt("done", (stage("predictors"),), (f"{HOME}/predictors", EARLIER)),
    "evaluated": Attempt("done", (stage("evaluated"),), (f"{HOME}/evaluated.json",)),
    "baseline": Attempt("done", (stage("baseline"),), (f"{HOME}/baseline", "outputs/scored")),
    "contrast": Attempt("done", of_cells("contrast", CELL), (f"{HOME}/contrast",)),
    "train": Attempt("done", of_cells("train", CELL), _TRAINED),
    "evaluate": Attempt("done", of_cells("evaluate", CELL), _SCORED),
    "analyse": Attempt("done", of_cells("analyse", CELL), (f"{HOME}/analysis",)),
    "foresight": Attempt("done", (stage("foresight"),), (f"{HOME}/foresight",)),
    "report": Attempt("done", (stage("report"),), ("reports",)),
    "keep": Attempt("done", (stage("keep"),), ("kept",)),
    "restore": Attempt("done", (stage("keep", "--restore"),), (HOME, "reports")),
    "predict": Attempt(
        "done",
        (stage("predict", "--source", "villain", "--text", "You are a pirate."),),
        (f"{HOME}/predictions",),
    ),
    "upload": Attempt("done", (stage("upload"),), ("mlflow.db", "mlruns")),
    "switch --only": Attempt("edited", (stage("switch", "--only", "other"),)),
    "two workers, two cells: train": Attempt("two cells", of_cells("train", CELL, OTHER), _TRAINED),
    "two workers, two cells: evaluate": Attempt(
        "two cells", of_cells("evaluate", CELL, OTHER), _SCORED
    ),
    "two workers, one cell: evaluate": Attempt("done", of_cells("evaluate", CELL, CELL), _SCORED),
}
AFTER = ("keep", "restore", "upload", "switch --only")
FIRST = [name for name, each in STAGES.items() if len(each.commands) == 1 and name not in AFTER]
REPRO = ("dvc", "repro")
LAUNCH = (
    *("mlflow", "run", ".", "--env-manager=local"),
    *("-P", f"source={CELL[0]}", "-P", f"seed={CELL[1]}", "-P", f"variant={CELL[2]}"),
)
COMMANDS = {
    "dvc repro": Attempt("nothing", (REPRO,)),
    "dvc repro, from the questions on": Attempt("based", (REPRO,)),
    "dvc repro, from the training on": Attempt("contrasted", (REPRO,)),
    "dvc repro, from the analysis on": Attempt("evaluated", (REPRO,)),
    "mlflow run": Attempt("based", (LAUNCH,)),
    "mlflow run, from the training on": Attempt("contrasted", (LAUNCH,)),
    "switch": Attempt("based and edited", (stage("switch", "other"),)),
}
# the stages that DVC is asked for until a state is there, in this order
UNTIL = {"based": ("base",), "contrasted": ("contrast", "baseline"), "evaluated": ("evaluate",)}


class Campaign:
    """A project, the states that it can be in, and what an undisturbed run comes to."""

    def __init__(self, scratch: Path):
        self.scratch = scratch
        model = scratch / "model"
        in_a_fork(make_model, model)
        self.project = checkout(scratch / "project", model)
        other = yaml.safe_load((self.project / "params.yaml").read_text()) | {"study": "other"}
        (self.project / "studies" / "other.yaml").write_text(yaml.safe_dump(other))
        self.environment = environment() | {
            warm.STEPS: str(scratch / "steps"),
            "DVC_SITE_CACHE_DIR": str(scratch / "site"),
        }
        client = warm.install(scratch / "bin")
        sys.executable = str(client)  # what the stages start, too
        self.environment["PATH"] = f"{client.parent}{os.pathsep}{self.environment['PATH']}"
        self.server = warm.serve(client)
        self.log = scratch / "log"
        self.seconds: dict[str, float] = {}
        self.expected: dict[str, dict[str, str]] = {}
        self.steps: dict[str, int] = {}
        self.save("nothing")

    def compute(self, names: Sequence[str]) -> None:
        """Compute the study without DVC; keep the states that stages begin from.

        Parameters
        ----------
        names : sequence of str
            What will be hurt: of stages alone, the study is computed up to the last one.
        """
        (self.project / "data").symlink_to("catalog")
        for number, name in enumerate(FIRST):
            for words in STAGES[name].commands:
                self.must(words)
            if set(names) <= set(FIRST[: number + 1]):
                self.save("done")
                return
        self.must(stage("keep"))
        self.save("done")
        for name in ("contrast", "train", "evaluate"):
            self.must(stage(name, *OTHER))
        self.save("two cells")
        self.reset("done")
        self.edit()
        self.save("edited")

    def edit(self) -> None:
        """Have parameters that stand nowhere else."""
        params = self.project / "params.yaml"
        params.write_text(params.read_text() + "# edited\n")

    def compute_with_dvc(self) -> None:
        """Compute the study with DVC; keep the states on the way."""
        self.reset("nothing")
        in_a_fork(make_store, self.project)  # as `make setup` does
        for state, targets in UNTIL.items():
            self.must(("dvc", "repro", *targets))
            self.save(state)
        self.reset("based")
        self.edit()
        self.save("based and edited")

    def must(self, words: Sequence[str]) -> None:
        """Run a command that has to succeed."""
        if self.wait([warm.start(words, self.project, self.environment, self.log)]) != [0]:
            sys.exit(f"{' '.join(words)}: {self.log.read_text()[-1000:]}")

    def wait(self, processes: Sequence[int]) -> list[int]:
        """Wait for processes; their exit codes."""
        return [os.waitstatus_to_exitcode(os.waitpid(each, 0)[1]) for each in processes]

    def save(self, state: str) -> None:
        """Keep what is there under a name."""
        self._copy(self.project, self.scratch / "states" / state)

    def reset(self, state: str) -> None:
        """Put a state back."""
        self._copy(self.scratch / "states" / state, self.project)

    def _copy(self, here: Path, there: Path) -> None:
        for name in CHANGES:
            _remove(there / name)
            if (here / name).is_symlink() or (here / name).is_file():
                (there / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(here / name, there / name, follow_symlinks=False)
            elif (here / name).is_dir():
                shutil.copytree(here / name, there / name, symlinks=True)

    def begin(self, attempt: Attempt) -> list[int]:
        """Start the commands of an attempt."""
        return [
            warm.start(words, self.project, self.environment, self.log.with_suffix(f".{number}"))
            for number, words in enumerate(attempt.commands)
        ]

    def prepare(self, attempt: Attempt) -> None:
        """Put back what an attempt begins from."""
        self.reset(attempt.state)
        for path in attempt.without:
            _remove(self.project / path)
        (self.scratch / "steps").write_text("")

    def measure(self, name: str, attempt: Attempt) -> None:
        """Run an attempt undisturbed, twice: its time, and what it comes to."""
        for _ in range(2):
            self.prepare(attempt)
            start = time.monotonic()
            codes = self.wait(self.begin(attempt))
            self.seconds[name] = time.monotonic() - start
            if any(codes):
                sys.exit(f"{name}: {self.said()[-1500:]}")
            found = self.outputs()
            known = self.expected.setdefault(name, found)
            if different := [path for path in found | known if found.get(path) != known.get(path)]:
                sys.exit(f"{name}: not the same twice, undisturbed: {different[:5]}")
        self.steps[name] = len((self.scratch / "steps").read_text())

    def said(self) -> str:
        """Return what the commands of the last attempt said."""
        files = [file.read_text() for file in sorted(self.scratch.glob("log.*"))]
        lines = [line for each in files for line in each.splitlines()]
        return "\n".join(line for line in lines if "RuntimeWarning" not in line)

    def outputs(self) -> dict[str, str]:
        """Digests of all that there is, but for what says when and how long: logs, DVC's own."""
        found = {}
        for name in ("outputs", "reports", "kept", "params.yaml", "params.before.yaml", "dvc.lock"):
            for file in (self.project / name).rglob("*") if "." not in name else [Path(name)]:
                path = self.project / file
                inside = str(path.relative_to(self.project))
                if path.is_file() and "/checkpoints/" not in inside:
                    found[inside] = hashlib.sha256(path.read_bytes()).hexdigest()
        return found | {f"store: {key}": value for key, value in self.logged().items()}

    def logged(self) -> dict[str, str]:
        """Read what the store says of the newest run of each cell, but for its seconds."""
        file = self.project / "mlflow.db"
        if not file.exists():
            return {}
        newest = """
            SELECT name, run_uuid, max(start_time) FROM runs
            WHERE lifecycle_stage = 'active' AND experiment_id != 0  -- launches of `mlflow run`
            AND run_uuid NOT IN (SELECT run_uuid FROM tags WHERE key = 'superseded_by')
            GROUP BY name
        """
        found = {}
        with closing(sqlite3.connect(file)) as store:
            for name, run, _ in store.execute(newest).fetchall():
                cell = str(name)
                [status] = store.execute("SELECT status FROM runs WHERE run_uuid = ?", [run])
                found[f"{cell}: status"] = status[0]
                metrics = "SELECT key, value FROM latest_metrics WHERE run_uuid = ?"
                for key, value in store.execute(metrics, [run]):
                    if not key.startswith("profile/") and key != "minutes":
                        found[f"{cell}: {key}"] = repr(value)
                points = "SELECT count(*) FROM metrics WHERE run_uuid = ? AND key = 'train/loss'"
                found[f"{cell}: points"] = str(store.execute(points, [run]).fetchone()[0])
                folder = next(self.project.glob(f"mlruns/*/{run}/artifacts"), None)
                for each in sorted(folder.rglob("*")) if folder else []:
                    if each.is_file():
                        found[f"{cell}: {each.relative_to(folder)}"] = "there"
        return found

    def running(self) -> int:
        """Count the runs that say they run, with nobody left to end them."""
        file = self.project / "mlflow.db"
        if not file.exists():
            return 0
        with closing(sqlite3.connect(file)) as store:
            query = "SELECT count(*) FROM runs WHERE status = 'RUNNING'"
            return int(store.execute(query).fetchone()[0])

    def hurt(self, name: str, attempt: Attempt, moment: int, counts: Counter[str]) -> list[str]:
        """One moment: begin, kill, begin again, compare.

        Parameters
        ----------
        name : str
            Of the attempt.
        attempt : Attempt
            What is killed.
        moment : int
            Decides when, and by which signal.
        counts : Counter
            Is added to.

        Returns
        -------
        list of str
            What went wrong.
        """
        draw = random.Random(f"{name} {moment}")  # noqa: S311 (a moment, no secret)
        number = SIGNALS[moment % 3]
        self.prepare(attempt)
        moment_of_kill = time.monotonic() + draw.uniform(0, self.seconds[name])
        processes = self.begin(attempt)
        time.sleep(max(0, moment_of_kill - time.monotonic()))
        # of several workers one or all are killed
        hit = processes if draw.random() < 0.5 else [draw.choice(processes)]
        late = [os.waitid(os.P_PID, each, os.WEXITED | os.WNOHANG | os.WNOWAIT) for each in hit]
        if all(late):
            self.wait(processes)
            counts["too late"] += 1
            return []
        for each in hit:
            os.killpg(each, number)
        self.wait(processes)
        psutil.wait_procs(psutil.Process(self.server).children(), timeout=30)  # behind the clients
        counts["kills"] += 1
        faults = []
        before = self._finished()
        steps = len((self.scratch / "steps").read_text())
        start = time.monotonic()
        if any(self.wait(self.begin(attempt))):
            counts["blocked"] += 1
            faults.append(self.said()[-400:])
        if steps == 0:  # all of the work was done this time
            self.seconds[name] = 0.7 * self.seconds[name] + 0.3 * (time.monotonic() - start)
        faults += self.compared(name, counts)
        again = [file for file, when in before.items() if self._when(file) != when]
        again = again if name not in COPIES else []
        # at most the step that was being done is done twice, by each worker that was killed
        repeated = len((self.scratch / "steps").read_text()) - self.steps[name] - len(hit)
        counts["done twice"] += len(again) + max(0, repeated)
        faults += [f"scored again: {file}" for file in again]
        if repeated > 0:
            faults.append(f"{repeated} steps of the training done again")
        counts["running"] += self.running()
        faults += ["a run says it runs"] * (self.running() > 0)
        return [f"{name}, moment {moment}, {number.name}: {fault}" for fault in faults]

    def compared(self, name: str, counts: Counter[str], logged: bool = True) -> list[str]:
        """Compare what is there with what an undisturbed attempt comes to; name what differs.

        Parameters
        ----------
        name : str
            Of the attempt.
        counts : Counter
            Is added to.
        logged : bool
            Whether what MLflow's store says is compared, too.
        """
        expected, found = self.expected[name], self.outputs()
        faults = []
        for path in sorted(expected.keys() | found.keys()):
            if expected.get(path) != found.get(path) and (logged or not path.startswith("store:")):
                counts["lost" if path not in found else "different"] += 1
                faults.append(f"{path}: {expected.get(path)} {found.get(path)}"[:200])
        left = leftovers(self.project)
        counts["left over"] += len(left)
        return faults + left

    def _finished(self) -> dict[Path, int]:
        """When each finished file of scores was made."""
        files = [file for each in PERSONAS for file in (self.project / "outputs").glob(each)]
        return {file: self._when(file) for file in files if file.name[0] != "."}

    def _when(self, file: Path) -> int:
        return file.stat().st_mtime_ns if file.exists() else 0


def in_a_fork(work: Callable[[Path], Any], path: Path) -> None:
    """Work elsewhere: a process that has computed with torch cannot be forked.

    Parameters
    ----------
    work : callable
        Is given ``path``.
    path : Path
        Of a file or folder.
    """
    other = get_context("fork").Process(target=work, args=(path,))
    other.start()
    other.join()


def make_store(project: Path) -> None:
    """Make MLflow's store.

    Parameters
    ----------
    project : Path
        A checkout.
    """
    from persona_leakage.pipeline.tracking import store

    os.chdir(project)
    store()


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def main() -> None:
    """Run the campaign and write its numbers into docs/reliability.md."""
    parser = argparse.ArgumentParser(description="Kills at random moments.")
    parser.add_argument("--moments", type=int, default=60, help="of each")
    parser.add_argument("--round", type=int, default=6, help="moments of each before the next")
    parser.add_argument("--only", nargs="*", default=[*STAGES, *COMMANDS])
    parser.add_argument("--seconds", type=float, default=7200, help="no round begins later")
    parser.add_argument("--scratch", type=Path, help="made; a folder in memory is best")
    parser.add_argument("--anew", action="store_true", help="forget what was counted of these")
    parser.add_argument("--dry", action="store_true", help="write no document")
    given = parser.parse_args()
    start = time.monotonic()
    content = read("kill") or {"seconds": 0, "counts": {}, "faults": []}
    if given.anew:
        for name in given.only:
            content["counts"].pop(name, None)
        content["faults"] = [
            fault for fault in content["faults"] if fault.partition(",")[0] not in given.only
        ]
    if not content["counts"]:
        content["seconds"] = 0
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108
    if given.scratch:
        given.scratch.mkdir(parents=True, exist_ok=True)
    warm.import_all()
    with tempfile.TemporaryDirectory(dir=given.scratch or memory) as scratch:
        campaign = Campaign(Path(scratch))
        try:
            _rounds(campaign, given, content, start)
        finally:
            os.kill(campaign.server, signal.SIGKILL)
    print({name: dict(Counter(counts)) for name, counts in content["counts"].items()})
    if content["faults"]:
        sys.exit(1)


def _kills(content: dict[str, Any], name: str) -> int:
    return int(content["counts"].get(name, {}).get("kills", 0))


def _rounds(
    campaign: Campaign, given: argparse.Namespace, content: dict[str, Any], start: float
) -> None:
    """Hurt everything a few times, in rounds, until each has had its moments."""
    attempts = {name: each for name, each in (STAGES | COMMANDS).items() if name in given.only}
    if STAGES.keys() & attempts.keys():
        campaign.compute([name for name in attempts if name in STAGES])
    if COMMANDS.keys() & attempts.keys():
        campaign.compute_with_dvc()
    earlier = content["seconds"]
    while True:
        open_ = [name for name in attempts if _kills(content, name) < given.moments]
        if not open_:
            return
        # those with the fewest moments first
        for name in sorted(open_, key=lambda each: _kills(content, each)):
            if time.monotonic() - start > given.seconds:
                return
            if name not in campaign.expected:
                campaign.measure(name, attempts[name])
                print(f"{name}: {campaign.seconds[name]:.2f} s undisturbed", flush=True)
            counts = Counter(content["counts"].get(name, {}))
            begun = time.monotonic()
            for _ in range(given.round):
                moment = counts["kills"] + counts["too late"]
                found = campaign.hurt(name, attempts[name], moment, counts)
                content["faults"] += found
                for fault in found:
                    print(fault, file=sys.stderr, flush=True)
            each = (time.monotonic() - begun) / given.round
            print(f"{name}: {dict(counts)}, {each:.1f} s each", flush=True)
            content["counts"][name] = {key: value for key, value in counts.items() if value}
            content["seconds"] = earlier + round(time.monotonic() - start)
            if not given.dry:
                write("kill", content)


if __name__ == "__main__":
    main()
