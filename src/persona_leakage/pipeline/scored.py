"""Scores under the hash of all that they come from: on this machine and, where named, in a bucket.

``PERSONA_LEAKAGE_SCORES=s3://bucket/folder`` names the bucket, whoever stores it: region, keys and
endpoint are those of the AWS clients (``AWS_DEFAULT_REGION``, ``AWS_ACCESS_KEY_ID``,
``AWS_SECRET_ACCESS_KEY``, ``AWS_ENDPOINT_URL``). Every persona's scores are written to it as soon
as they are there, and what it has is not scored again: by no machine that names the same bucket.
``SCORED`` may be deleted at any time.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from persona_leakage.errors import InputError, brief
from persona_leakage.files import whole
from persona_leakage.pipeline.score_files import key_of

SCORED = Path("outputs/scored")
PLACE = "PERSONA_LEAKAGE_SCORES"
PATTERN = r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])((?:/[\w=-][\w.=-]*)*)/?"
AT_ONCE = 16  # files on their way
CONNECT, ANSWER = 10, 60  # seconds that a store may take

T = TypeVar("T")


class Bucket:
    """Where an S3 store keeps scores: ``<folder>/<hash>.parquet``.

    Parameters
    ----------
    place : str
        ``s3://bucket/folder``, the folder of any depth or none.

    Raises
    ------
    InputError
        The place is none, or the store does not have the bucket.
    """

    def __init__(self, place: str):
        match = re.fullmatch(PATTERN, place)
        if match is None:
            # not what it is: keys may stand in it
            raise InputError(f"{PLACE} is no place in a store; write s3://bucket/folder")
        from pyarrow import fs  # here, since it takes its time and hardly anybody needs it

        self._kind = fs.FileType.File
        self._files = fs.S3FileSystem(
            region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
            endpoint_override=os.environ.get("AWS_ENDPOINT_URL_S3")
            or os.environ.get("AWS_ENDPOINT_URL"),
            connect_timeout=CONNECT,
            request_timeout=ANSWER,
        )
        self._folder, self._works = f"{match[1]}{match[2]}", True
        [bucket] = self._asked(lambda: self._files.get_file_info([match[1]]))
        if bucket.type == fs.FileType.NotFound:
            raise InputError(f"{PLACE}: the store has no bucket {match[1]}; make it first")

    def has(self, keys: Iterable[str]) -> set[str]:
        """Tell which of these are there.

        Parameters
        ----------
        keys : iterable of str
            Hashes of what scores come from.
        """
        names = {self._name(key): key for key in keys}
        found = self._asked(lambda: self._files.get_file_info(list(names)))
        return {names[each.path] for each in found if each.type == self._kind}

    def take(self, key: str, file: Path) -> None:
        """Fetch a file, unless it is damaged.

        Parameters
        ----------
        key : str
            One that is there.
        file : Path
            Where to; untouched where the bucket's is damaged.
        """
        content = self._asked(lambda: self._files.open_input_file(self._name(key)).read())
        if key_of(pa.BufferReader(content)) == key.encode():
            with whole(file) as partial:
                partial.write_bytes(content)

    def put(self, file: Path, key: str) -> None:
        """Send a file; the first that cannot be sent is told, and no other is tried.

        Parameters
        ----------
        file : Path
            Of scores.
        key : str
            Their hash.
        """
        if not self._works:
            return
        try:
            with self._files.open_output_stream(self._name(key)) as stream:
                stream.write(file.read_bytes())
        except OSError as error:
            self._works = False
            print(
                f"warning: {PLACE}: {brief(str(error))[:120]}; scores are kept on disk all the "
                "same, and sent when the stage runs again",
                file=sys.stderr,
            )

    def _name(self, key: str) -> str:
        return f"{self._folder}/{key}.parquet"

    def _asked(self, question: Callable[[], T]) -> T:
        try:
            return question()
        except OSError as error:
            raise InputError(f"{PLACE}: the store does not answer: {error}; see to it") from error


def bucket() -> Bucket | None:
    """Open the bucket that the environment names; ``None`` where it names none.

    Raises
    ------
    InputError
        There is no such bucket.
    """
    place = os.environ.get(PLACE)
    return Bucket(place) if place else None


def share(files: Mapping[str, Path], bucket: Bucket | None) -> None:
    """Take what is missing from where it is kept; keep what is there wherever it is not kept.

    Parameters
    ----------
    files : mapping
        Hash of what scores come from to their file; one that is there is of that hash.
    bucket : Bucket or None
        Of ``bucket``.
    """
    for key, file in files.items():
        kept = _kept(key)
        valid = key_of(kept) == key.encode()
        if file.exists() and not valid:
            _copy(file, kept)
        elif valid and not file.exists():
            _copy(kept, file)
    if bucket is None:
        return
    there = bucket.has(files)
    _each(
        lambda key: bucket.take(key, files[key]),
        [key for key, file in files.items() if key in there and not file.exists()],
    )
    _each(
        lambda key: bucket.put(files[key], key),
        [key for key, file in files.items() if key not in there and file.exists()],
    )


def _each(action: Callable[[str], Any], keys: list[str]) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(action, keys))


def keep(file: Path, key: str, bucket: Bucket | None) -> None:
    """Keep a file of scores that was just made.

    Parameters
    ----------
    file : Path
        Stays as it is.
    key : str
        Hash of what they come from.
    bucket : Bucket or None
        Of ``bucket``.
    """
    _copy(file, _kept(key))
    if bucket is not None:
        bucket.put(file, key)


def _kept(key: str) -> Path:
    return SCORED / key[:2] / f"{key}.parquet"


def _copy(file: Path, to: Path) -> None:
    with whole(to) as partial:
        shutil.copy2(file, partial)
