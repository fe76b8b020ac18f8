"""Stages killed at random moments: a few here, each stage sixty times in faults/kill.py."""

import os
import subprocess
import sys

from conftest import ROOT


def test_a_stage_that_is_killed_loses_nothing_blocks_nothing_and_leaves_nothing(tmp_path):
    done = subprocess.run(
        [
            *(sys.executable, "faults/kill.py", "--dry", "--anew", "--moments", "2"),
            *("--round", "3", "--scratch", str(tmp_path), "--only", "questions", "personas"),
        ],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "'kills': " in done.stdout
    assert list(tmp_path.iterdir()) == []
