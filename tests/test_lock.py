import os
import threading
import time

import pytest
from conftest import ROOT

from persona_leakage.pipeline.lock import mend

WHOLE = (ROOT / "dvc.lock").read_bytes()
LONG_AGO = (0, 0)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "dvc.lock"


def test_a_whole_lock_file_and_none_stay_as_they_are(file, capsys):
    mend(file.parent)
    assert not file.exists()
    file.write_bytes(WHOLE)
    os.utime(file, LONG_AGO)
    mend(file.parent)
    assert file.read_bytes() == WHOLE
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    "left", [b"", WHOLE[: WHOLE.index(b"- path: ") + 7], b"schema: '2.0'\nstages: [x"]
)
def test_a_lock_file_that_was_cut_short_makes_room(left, file, capsys):
    file.write_bytes(left)
    os.utime(file, LONG_AGO)
    mend(file.parent)
    assert not file.exists()
    assert (file.parent / "dvc.lock.damaged").read_bytes() == left
    assert "computes nothing again" in capsys.readouterr().err


def test_a_lock_file_that_is_being_written_is_waited_for(file):
    file.write_bytes(b"")
    waiting = threading.Thread(target=mend, args=[file.parent])
    waiting.start()
    time.sleep(0.3)
    file.write_bytes(WHOLE)
    waiting.join(20)
    assert file.read_bytes() == WHOLE


def test_a_list_of_readers_and_writers_that_was_cut_short_makes_room(tmp_path):
    file = tmp_path / ".dvc" / "tmp" / "rwlock"
    file.parent.mkdir(parents=True)
    for content, stays in ((b"{}", True), (b"", False), (b'{"outp', False)):
        file.write_bytes(content)
        os.utime(file, LONG_AGO)
        mend(tmp_path)
        assert file.exists() == stays
