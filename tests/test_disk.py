"""Disks without room: one stage that logs to MLflow here, every command in faults/disk.py."""

import os
import shutil
import subprocess
import sys

import pytest
from conftest import ROOT

NAMESPACE = ("unshare", "--mount", "--map-root-user")


@pytest.mark.slow
def test_a_stage_on_a_disk_without_room_says_one_sentence_and_loses_nothing():
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"]).returncode:
        pytest.skip("no mount namespaces for users on this machine: `unshare` is refused")
    done = subprocess.run(
        [sys.executable, "faults/disk.py", "--dry", "--only", "personas", "evaluate"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "evaluate: {'refused': 3" in done.stdout
