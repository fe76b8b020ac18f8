import errno

import pytest

from persona_leakage.errors import InputError, command
from persona_leakage.files import read_jsonl, whole, write_jsonl


def test_a_full_disk_leaves_neither_a_half_file_nor_the_old_one_damaged(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"a": 1}])

    def rows():
        yield {"a": 2}
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match=r"rows.jsonl: the disk is full.*free some space"):
        write_jsonl(path, rows())
    assert read_jsonl(path) == [{"a": 1}]
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_folder_is_not_taken_for_a_whole_one(tmp_path):
    folder = tmp_path / "adapter"

    def interrupted():
        with whole(folder) as partial:
            partial.mkdir()
            (partial / "half").write_text("x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert list(tmp_path.iterdir()) == []


def test_a_finished_folder_replaces_the_old_one(tmp_path):
    for content in ("old", "new"):
        with whole(tmp_path / "folder") as partial:
            partial.mkdir()
            (partial / "file").write_text(content)
    assert (tmp_path / "folder" / "file").read_text() == "new"


def test_bad_input_is_one_sentence_and_a_non_zero_exit(capsys):
    @command
    def main():
        raise InputError("this is wrong")

    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == "error: this is wrong"
