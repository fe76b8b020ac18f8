import errno

import pytest

from persona_leakage.errors import InputError, command
from persona_leakage.files import read_json, read_jsonl, read_lines, whole, write_json, write_jsonl


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
