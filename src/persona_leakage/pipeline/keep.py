"""Keep what only a GPU could compute again: the scores of a study, small enough for git.

    python -m persona_leakage.pipeline.keep            # outputs/ to kept/<study>
    python -m persona_leakage.pipeline.keep --restore  # and back; then its analyses and its report

Adapters are not kept. Log-probabilities are rounded to a sixteenth of a nat; which continuation was
chosen, and so every accuracy, is kept exactly. Reports of kept studies are made of what is kept, so
that `make kept` gives the same numbers. What follows from the catalog and the benchmarks alone
(questions, personas) is computed again where it is restored.
"""

import argparse
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.errors import InputError, command
from persona_leakage.files import read_json, read_parquet, whole
from persona_leakage.pipeline import (
    analyse,
    evaluated,
    foresight,
    geometry,
    paths,
    personas,
    questions,
    report,
)
from persona_leakage.pipeline.score_files import read_scores, write_scores
from persona_leakage.study.parameters import Study, load_study

STEP = 1 / 16  # nats: a mean margin over hundreds of questions is off by a thousandth
BESIDE = ("manifest.json", "curve.csv")  # of a cell, beside its scores
FORESEEN = ("manifest.json", "table.parquet")  # of the predictors, as far as they are judged


def packed(scores: pd.DataFrame) -> pa.Table:
    """Lay scores out column by column, one per continuation, as they compress best.

    Parameters
    ----------
    scores : DataFrame
        Of ``score_files.read_scores``.
    """
    most = max(map(len, scores["scores"]))
    values = np.full((len(scores), most), np.nan, dtype=np.float16)
    for row, each in zip(values, scores["scores"], strict=True):
        row[: len(each)] = np.round(np.asarray(each) / STEP) * STEP
    columns = {
        name: pa.array(scores[name]).dictionary_encode()
        for name in ("persona", "question", "benchmark")
    }
    columns["outcome"] = pa.array(scores["outcome"].astype(np.float32))
    columns["label_mass"] = pa.array(scores["label_mass"].astype(np.float16))
    for name, kind in (("answer", np.int8), ("chosen", np.int8), ("tokens", np.int32)):
        columns[name] = pa.array(scores[name].astype(kind))
    return pa.table(columns | {f"score_{i}": pa.array(values[:, i]) for i in range(most)})


def unpacked(table: pa.Table) -> pd.DataFrame:
    """Turn what ``packed`` laid out back into scores.

    Parameters
    ----------
    table : pyarrow Table
        As it is on disk.
    """
    frame = table.to_pandas()
    names = [name for name in frame if name.startswith("score_")]
    values = frame[names].to_numpy(np.float32)
    frame["scores"] = [row[~np.isnan(row)] for row in values]
    frame = frame.drop(columns=names).astype({"outcome": float, "label_mass": float})
    return frame.astype(dict.fromkeys(("persona", "question", "benchmark"), str))


def keep(study: Study, folder: Path) -> list[str]:
    """Write the study's scores, curves, manifests, centroids and predictors into ``folder``.

    A cell is kept when every persona has been scored.

    Parameters
    ----------
    study : Study
        Computed in ``outputs/``, at least in part.
    folder : Path
        Is replaced.

    Returns
    -------
    list of str
        Names of the cells that were kept.
    """
    outcome = load_behaviour(study.behaviour).outcome
    of_source = read_json(paths.evaluated(study))["evaluated"]
    everyone = list(dict.fromkeys(name for names in of_source.values() for name in names))
    cells = []
    with whole(folder) as partial:
        partial.mkdir()
        shutil.copytree(paths.centroids(study), partial / "centroids")
        if paths.predictors(study).exists():
            (partial / "predictors").mkdir()
            for name in FORESEEN:
                shutil.copyfile(paths.predictors(study) / name, partial / "predictors" / name)
        _write(packed(read_scores(paths.baseline(study), everyone, outcome)), partial / "baseline")
        for cell in study.cells:
            names = of_source.get(cell.source, [])
            scores = paths.scores(study, cell)
            if not names or any(not (scores / f"{name}.parquet").exists() for name in names):
                continue
            _write(packed(read_scores(scores, names, outcome)), partial / str(cell))
            for name, of in zip(BESIDE, (paths.contrast, paths.adapter), strict=True):
                shutil.copyfile(of(study, cell) / name, partial / f"{cell}.{name}")
            cells.append(str(cell))
    return cells


def restore(study: Study, folder: Path) -> list[str]:
    """Put what ``keep`` wrote back into ``outputs/``, for ``geometry``, ``analyse`` and ``report``.

    Parameters
    ----------
    study : Study
        Whose outputs are to be there.
    folder : Path
        Of ``keep``.

    Returns
    -------
    list of str
        Names of the cells that were there.

    Raises
    ------
    InputError
        Nothing is kept of the study.
    """
    if not (folder / "baseline.parquet").exists():
        raise InputError(f"{folder}: nothing is kept of the study {study.study} there")
    with whole(paths.centroids(study)) as partial:
        shutil.copytree(folder / "centroids", partial)
    if (folder / "predictors").exists():
        with whole(paths.predictors(study)) as partial:
            shutil.copytree(folder / "predictors", partial)
    write_scores(paths.baseline(study), _read(folder / "baseline"))
    cells = []
    for cell in study.cells:
        if (folder / f"{cell}.parquet").exists():
            write_scores(paths.scores(study, cell), _read(folder / str(cell)))
            for name, of in zip(BESIDE, (paths.contrast, paths.adapter), strict=True):
                of(study, cell).mkdir(parents=True, exist_ok=True)
                shutil.copyfile(folder / f"{cell}.{name}", of(study, cell) / name)
            cells.append(str(cell))
    return cells


def _write(table: pa.Table, stem: Path) -> None:
    few = [name for name in table.column_names if name.startswith("score_")]  # distinct values
    pq.write_table(
        table,
        stem.with_name(f"{stem.name}.parquet"),
        compression="zstd",
        compression_level=19,
        use_dictionary=["persona", "question", "benchmark", *few],
        use_byte_stream_split=["label_mass"],
        write_page_checksum=True,
    )


def _read(stem: Path) -> pd.DataFrame:
    file = stem.with_name(f"{stem.name}.parquet")
    try:
        return unpacked(read_parquet(file))
    except (pa.ArrowException, OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"{file}: damaged ({str(error)[:80]}); `git checkout {file}` brings it back"
        ) from error


@command
def main(back: bool) -> None:
    """Keep the study of ``params.yaml``, or restore it and write its report anew.

    Parameters
    ----------
    back : bool
        Whether to restore.
    """
    study = load_study()
    folder = paths.kept(study)
    cells = restore(study, folder) if back else keep(study, folder)
    print(f"{folder}: {len(cells)} of {len(study.cells)} cells")
    if back:
        for shared in (questions, personas, geometry, evaluated):
            shared.main()
        for cell in study.cells:
            if str(cell) in cells:
                analyse.main(cell)
        if paths.predictors(study).exists():
            foresight.main()
        report.main()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Keep the scores of a study, or restore them.")
    parser.add_argument("--restore", action="store_true", help="from kept/ to outputs/")
    main(parser.parse_args().restore)
