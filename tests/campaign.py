"""A campaign of faults/, in its short form."""

import os
import subprocess
import sys

from conftest import ROOT


def campaign(script, *words, timeout=600):
    """Run a script of faults/ that writes no document and has to find nothing; what it printed."""
    done = subprocess.run(
        [sys.executable, f"faults/{script}.py", "--dry", *words],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
