"""Disks without room: one stage that logs to MLflow here, every command in faults/disk.py."""

import shutil
import subprocess

import pytest
from campaign import campaign

NAMESPACE = ("unshare", "--mount", "--map-root-user")


@pytest.mark.slow
def test_a_stage_on_a_disk_without_room_says_one_sentence_and_loses_nothing():
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"]).returncode:
        pytest.skip("no mount namespaces for users on this machine: `unshare` is refused")
    told = campaign("disk", "--only", "personas", "evaluate", timeout=900)
    assert "evaluate: {'refused': 3" in told
