"""The made-up study of faults/load.py is one that the stages take, whatever they come to read."""

import os
import subprocess
import sys

import pytest
from conftest import ROOT


@pytest.mark.slow
def test_the_study_that_is_measured_under_load_is_analysed_and_compared():
    words = ("faults/load.py", "--dry", "--parts", "compare", "--compared", "2")
    done = subprocess.run(
        [sys.executable, *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "compare 2 runs" in done.stdout
