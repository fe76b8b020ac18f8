"""Stages killed at random moments: a few here, each stage sixty times in faults/kill.py."""

from campaign import campaign


def test_a_stage_that_is_killed_loses_nothing_blocks_nothing_and_leaves_nothing(tmp_path):
    told = campaign(
        "kill",
        *("--anew", "--moments", "2", "--round", "3"),
        *("--scratch", str(tmp_path), "--only", "questions", "personas"),
    )
    assert "'kills': " in told
    assert list(tmp_path.iterdir()) == []
