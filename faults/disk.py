"""A disk that is full, half full or read-only, under every stage: one sentence, and nothing lost.

    python faults/disk.py [--only train upload]

The project lies on a disk of its own, in memory, in a mount namespace of this process: it is gone
when the process ends. What a stage makes is removed, the disk is filled to the last byte, or up to
half of what the stage would write, or made read-only, and the stage is started. It has to end with
one sentence of at most 300 characters, or with its work done and a warning where MLflow's log alone
found no room. Then the disk is as before, the stage is started again, and everything is compared
with an undisturbed run, byte for byte.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import warm
from kill import STAGES, Campaign
from record import write

from persona_leakage.errors import LONGEST

INSIDE = "FAULTS_DISK_INSIDE"
DISKS = ("full", "half full", "read-only")
MIB = 400


def mount(folder: Path, *options: str) -> None:
    """Mount a disk in memory, or change it.

    Parameters
    ----------
    folder : Path
        Exists.
    *options : str
        Of ``mount``.
    """
    words = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    subprocess.run(words, check=True)


def used(folder: Path) -> int:
    """Bytes in use on the disk of a folder.

    Parameters
    ----------
    folder : Path
        Any on it.
    """
    disk = os.statvfs(folder)
    return (disk.f_blocks - disk.f_bfree) * disk.f_frsize


@contextmanager
def hurt(folder: Path, disk: str, room: int) -> Iterator[None]:
    """Leave no room on a disk, or half of what is needed, or make it read-only.

    Parameters
    ----------
    folder : Path
        Where it is mounted.
    disk : str
        One of ``DISKS``.
    room : int
        Bytes that the work needs.
    """
    filler = folder / "filler"
    if disk == "read-only":
        mount(folder, "remount", "ro")
    else:
        state = os.statvfs(folder)
        free = state.f_bavail * state.f_frsize - (room // 2 if disk == "half full" else 0)
        with filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free)
    try:
        yield
    finally:
        if disk == "read-only":
            mount(folder, "remount", "rw")
        filler.unlink(missing_ok=True)


def faults_of(codes: list[int], said: str) -> list[str]:
    """Say what is wrong with how the commands ended.

    Parameters
    ----------
    codes : list of int
        Their exit codes.
    said : str
        Everything that they wrote.
    """
    lines = said.splitlines()
    told = [line for line in lines if line.startswith(("error:", "warning:"))]
    lengths = [len(each.partition(": ")[2]) for each in told]
    faults = [f"a sentence of {each} characters" for each in lengths if each > LONGEST]
    if "Traceback" in said:
        faults.append(f"a traceback: {lines[-1][:200]}")
    errors = [line for line in told if line.startswith("error:")]
    if codes != [0] and (codes != [1] or len(errors) != 1 or lines[-1] != errors[0]):
        faults.append(f"ended with {codes} and {len(errors)} sentences: {said[-200:]}")
    if codes == [0] and not told:
        faults.append("nothing was said")
    return faults


def main() -> None:
    """Run the campaign and write its numbers into docs/reliability.md."""
    names = [name for name, each in STAGES.items() if len(each.commands) == 1]
    parser = argparse.ArgumentParser(description="Full and read-only disks.")
    parser.add_argument("--only", nargs="*", default=names)
    parser.add_argument("--dry", action="store_true", help="write no document")
    given = parser.parse_args()
    if INSIDE not in os.environ:  # a namespace of its own, in which anybody may mount
        os.environ[INSIDE] = "1"
        os.execvp("unshare", ["unshare", "--mount", "--map-root-user", sys.executable, *sys.argv])  # noqa: S606
    warm.import_all()
    counts: dict[str, Counter[str]] = {}
    faults: list[str] = []
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        disk = scratch / "project"
        disk.mkdir()
        mount(disk, f"size={MIB}m")
        campaign = Campaign(scratch)
        try:
            campaign.compute(given.only)
            for each in given.only:
                counts[each] = Counter()
                faults += _attempts(campaign, each, disk, counts[each])
                print(f"{each}: {dict(counts[each])}", flush=True)
        finally:
            os.kill(campaign.server, signal.SIGKILL)
            subprocess.run(["umount", "--lazy", str(disk)], check=True)
    for fault in faults:
        print(fault, file=sys.stderr)
    if not given.dry:
        write("disk", {"counts": {each: dict(found) for each, found in counts.items()}})
    if faults:
        sys.exit(1)


def _attempts(campaign: Campaign, name: str, folder: Path, counts: Counter[str]) -> list[str]:
    """Start one stage on each of the disks; what went wrong."""
    attempt = STAGES[name]
    campaign.measure(name, attempt)
    campaign.prepare(attempt)
    before = used(folder)
    campaign.must(attempt.commands[0])
    room = used(folder) - before
    faults = []
    for disk in DISKS:
        campaign.prepare(attempt)
        with hurt(folder, disk, room):
            codes = campaign.wait(campaign.begin(attempt))
            said = campaign.said()
        counts["refused" if codes == [1] else "done without the log"] += 1
        found = faults_of(codes, said)
        counts["badly told"] += len(found)
        if any(campaign.wait(campaign.begin(attempt))):
            counts["blocked"] += 1
            found.append(f"blocked: {campaign.said()[-300:]}")
        # what MLflow had no room for, only `upload` would log
        found += campaign.compared(name, counts, logged=codes == [1])
        faults += [f"{name}, {disk}: {each}" for each in found]
    return faults


if __name__ == "__main__":
    main()
