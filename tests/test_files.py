import errno
import os
import subprocess
import sys
import tempfile

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors import SafetensorError

from persona_leakage.errors import InputError, command
from persona_leakage.files import (
    read_json,
    read_jsonl,
    read_lines,
    read_table,
    scratch,
    sweep,
    whole,
    write_json,
    write_jsonl,
    write_parquet,
)


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


SEPARATORS = "a\u2028b\u2029c\x85d\x0be\x0cf\x1cg\x1dh\x1ei\rj\nk"


def test_only_line_feeds_end_a_line(tmp_path):
    path = tmp_path / "rows.jsonl"
    write_jsonl(path, [{"a": SEPARATORS}, {SEPARATORS: 1}])
    assert read_jsonl(path) == [{"a": SEPARATORS}, {SEPARATORS: 1}]
    write_json(tmp_path / "one.json", {"a": SEPARATORS})
    assert read_json(tmp_path / "one.json") == {"a": SEPARATORS}
    path.write_bytes("\ufeffone\u2028\r\ntwo\x85\n\nfour".encode())
    assert read_lines(path) == ["one\u2028", "two\x85", "", "four"]
    path.write_bytes(b"")
    assert read_lines(path) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": ', "not JSON"),
        (b"", "not JSON"),
        (b"[1]", "not a JSON object"),
        (b"\xff", "not UTF-8"),
        (b'{"a": "\\udc00"}', "an escaped surrogate without its pair"),
        (b"[" * 100_000, "a number too long or nesting too deep"),
        (b'{"a": ' + b"1" * 5_000 + b"}", "a number too long or nesting too deep"),
    ],
)
def test_a_line_that_is_no_json_object_is_named_by_its_number(content, message, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes('{"a": "\u2028"}\n'.encode() + content + b'\n{"a": 1}\n')
    with pytest.raises(InputError, match=f"rows.jsonl, row 2: {message}"):
        read_jsonl(path)


def test_json_that_was_cut_short_is_one_sentence(tmp_path):
    path = tmp_path / "manifest.json"
    write_json(path, {"a": 1, "b": 2})
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"manifest.json: not JSON \(.* at line .*delete the file"):
        read_json(path)


def test_bad_input_is_one_sentence_and_a_non_zero_exit(capsys):
    @command
    def main():
        raise InputError("this is wrong")

    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == "error: this is wrong"


WRITER = """
import sys, pathlib
from persona_leakage.files import whole, write_text
path, mark = pathlib.Path(sys.argv[1]), sys.argv[2]
for number in range(60):
    write_text(path / "file", mark * 5000)
    with whole(path / "folder") as partial:
        partial.mkdir()
        for name in "ab":
            (partial / name).write_text(mark * 50)
"""


def test_of_two_writers_at_once_one_wins_and_its_output_is_whole(tmp_path):
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path), mark]) for mark in "xy"
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    assert (tmp_path / "file").read_text() in ("x" * 5000, "y" * 5000)
    (content,) = {(tmp_path / "folder" / name).read_text() for name in "ab"}
    assert content in ("x" * 50, "y" * 50)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("named", [["x"], []])
def test_what_a_killed_writer_left_is_swept_and_what_it_put_aside_comes_back(named, tmp_path):
    gone = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], text=True, capture_output=True
    ).stdout.strip()
    for name in (f".x.{gone}-0.partial", f".x.{gone}-1.aside", f".x.{os.getpid()}-9.partial"):
        (tmp_path / name).write_text(name)
    sweep(tmp_path, *named)
    assert sorted(path.name for path in tmp_path.iterdir()) == [f".x.{os.getpid()}-9.partial", "x"]
    assert (tmp_path / "x").read_text().endswith("aside")


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOSPC])
def test_what_the_system_refuses_is_one_sentence(number, capsys):
    @command
    def main():
        raise OSError(number, os.strerror(number), "outputs/x")

    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code.startswith(f"error: outputs/x: {os.strerror(number)}; ")
    assert "run again" in exit_.value.code


@pytest.mark.parametrize(
    ("number", "told"), [(28, InputError), (30, OSError), (13, PermissionError)]
)
def test_what_the_system_refuses_a_library_in_rust_is_told_as_the_system_does(
    tmp_path, number, told
):
    refused = SafetensorError(f"I/O error: {os.strerror(number)} (os error {number})")
    with (
        pytest.raises(told, match=r"centroids\.safetensors"),
        whole(tmp_path / "centroids.safetensors"),
    ):
        raise refused
    with pytest.raises(SafetensorError), whole(tmp_path / "x"):
        raise SafetensorError("a header that is none")


@pytest.mark.parametrize("kind", [MemoryError, torch.OutOfMemoryError])
def test_too_little_memory_is_one_sentence(kind):
    @command
    def main():
        raise kind("tried to allocate 20 GiB\nof 8")

    with pytest.raises(SystemExit, match="^error: not enough memory .tried .* of 8.; .* run again"):
        main()


def test_another_fault_of_the_program_stays_one():
    @command
    def main():
        raise RuntimeError("a shape is wrong")

    with pytest.raises(RuntimeError, match="a shape is wrong"):
        main()


def test_ctrl_c_is_one_sentence(capsys):
    @command
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        main()
    assert exit_.value.code == 130
    assert capsys.readouterr().err == "stopped; run again to go on, what is finished is kept\n"


def test_a_flipped_bit_in_a_table_is_noticed(tmp_path):
    path = tmp_path / "table.parquet"
    write_parquet(path, pd.DataFrame({"a": np.arange(1000.0), "b": ["x", "y"] * 500}))
    content = path.read_bytes()
    read_table(path, ["a"])
    for at in range(4, len(content) // 2, len(content) // 40):  # pages come before the footer
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        with pytest.raises(InputError, match=r"table.parquet: damaged \(.*\); delete it"):
            read_table(path, ["a"])


def test_what_a_killed_process_was_throwing_away_is_thrown_away(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    with scratch() as mine:
        (mine / "file").write_text("x")
        left = mine.with_name(mine.name.replace(f".{os.getpid()}-", f".{gone.pid}-"))
        left.mkdir()
        with scratch() as other:
            assert set(tmp_path.iterdir()) == {mine, other}
    assert not list(tmp_path.iterdir())
