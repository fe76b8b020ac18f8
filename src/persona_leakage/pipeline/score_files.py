"""Files of scores, one per persona: what is read of them needs no model."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from persona_leakage.errors import InputError
from persona_leakage.files import MADE_AGAIN, read_table, write_parquet
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import checked, scores_schema

KEY = b"computed from"
COLUMNS = ("persona", "question", "benchmark", "outcome", "scores", "label_mass", "tokens")


def read_scores(folder: Path, personas: Iterable[str], outcome: Outcome) -> pd.DataFrame:
    """Read the scores of these personas, one after the other.

    Parameters
    ----------
    folder : Path
        Of ``scores.score_personas``.
    personas : iterable of str
        Names.
    outcome : Outcome
        Whose bounds the scores keep.

    Raises
    ------
    InputError
        A persona has no file, or one that is no table of scores.
    """
    frames = []
    for name in personas:
        file = file_of(folder, name)
        if not file.exists():
            raise InputError(f"{file}: no such file; `dvc repro` scores {name}")
        frame = read_table(file, COLUMNS)
        if frame.empty or set(frame["persona"].map(str)) != {name}:
            raise InputError(f"{file}: damaged (no scores of {name}); {MADE_AGAIN}")
        try:
            finite = np.isfinite(np.concatenate(list(frame["scores"])).astype(float)).all()
        except (ValueError, TypeError) as error:
            raise InputError(f"{file}: damaged (scores that are none); {MADE_AGAIN}") from error
        if not finite:
            raise InputError(
                f"{file}: a score is not finite: the training of this cell diverged; lower "
                "train.learning_rate and train it again"
            )
        frames.append(frame)
    return checked(pd.concat(frames, ignore_index=True), scores_schema(outcome), folder)


def write_scores(folder: Path, scores: pd.DataFrame) -> None:
    """Write scores that were computed elsewhere; a stage that scores would compute them again.

    Parameters
    ----------
    folder : Path
        Filled with a file per persona, as ``scores.score_personas`` does.
    scores : DataFrame
        Of ``read_scores``.
    """
    for persona, table in scores.groupby("persona", sort=False):
        write_file(file_of(folder, str(persona)), table.reset_index(drop=True), b"")


def file_of(folder: Path, persona: str) -> Path:
    """Name a persona's file of scores.

    Parameters
    ----------
    folder : Path
        Of a cell or of the baseline.
    persona : str
        Its name.
    """
    return folder / f"{persona}.parquet"


def key_of(file: Path | pa.NativeFile) -> bytes | None:
    """Return the hash of all that a file was computed from; ``None`` where it says none.

    Parameters
    ----------
    file : Path or pyarrow NativeFile
        Of scores, there or not, damaged or not.
    """
    try:
        return (pq.read_schema(file).metadata or {}).get(KEY)
    except (pa.ArrowInvalid, OSError):
        return None  # damaged: scored again


def write_file(file: Path, table: pd.DataFrame, key: bytes) -> None:
    """Write a persona's scores with the hash of all that they were computed from.

    Parameters
    ----------
    file : Path
        Of ``file_of``.
    table : DataFrame
        Of ``evaluation.score_table``.
    key : bytes
        Empty where nothing says what they were computed from.
    """
    write_parquet(file, table, {KEY: key})
