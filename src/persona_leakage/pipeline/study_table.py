"""Lay out who changed in all finished cells as one table that a query reads: partitioned parquet.

    python -m persona_leakage.pipeline.study_table            # the study of params.yaml
    python -m persona_leakage.pipeline.study_table FOLDER     # into a folder of one's choice

A row is a persona under a cell, as in ``personas.csv``. Cells have a file each, in folders that
DuckDB and Polars read as columns: ``behaviour=.../model=.../source=...``. Studies, and machines,
that write into one folder add to one table; a cell that is written again replaces its file.
"""

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from persona_leakage.errors import InputError, command
from persona_leakage.files import write_parquet
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import load_study
from persona_leakage.study.results import CellResult, read_cell

TABLE = Path("outputs/table")
OF_CELL = ("study", "seed", "variant", "fingerprint")  # columns before those of ``personas.csv``
TEXTS = ("persona", "category", "relation", "prompt", "role", "study", "variant", "fingerprint")


def file_of(folder: Path, result: CellResult) -> Path:
    """Name the file of a cell, in folders that say what it is of.

    Parameters
    ----------
    folder : Path
        Of the table.
    result : CellResult
        Of the cell.
    """
    columns = {
        "behaviour": result.params["behaviour.name"],
        "model": result.params["model.name"],
        "source": result.source,
    }
    folders = [f"{name}={value}" for name, value in columns.items()]
    name = f"{result.study}-{result.seed}-{result.variant}.parquet"
    return folder.joinpath(*folders, name)


def rows_of(result: CellResult, personas: pd.DataFrame) -> pd.DataFrame:
    """Put the cell's columns before those of its personas; a column has one type in every file.

    Parameters
    ----------
    result : CellResult
        Of the cell.
    personas : DataFrame
        Of ``persona_schema``.
    """
    of_cell = {name: getattr(result, name) for name in OF_CELL}
    frame = pd.DataFrame(of_cell, index=personas.index).join(personas)
    types: dict[str, Any] = dict.fromkeys(TEXTS, "string")  # of nothing but nulls, too
    types |= dict.fromkeys(frame.columns.difference([*TEXTS, "seed"]), float)
    return frame.astype(types)


@command
def main(folder: Path = TABLE) -> None:
    """Write the finished cells of the study in ``params.yaml``.

    Parameters
    ----------
    folder : Path, optional
        Of the table.

    Raises
    ------
    InputError
        No cell is finished.
    """
    study = load_study()
    found = [read_cell(paths.analysis(study, cell)) for cell in study.cells]
    cells = [cell for cell in found if cell is not None]
    if not cells:
        raise InputError(f"{paths.analyses(study)}: no finished cell; `dvc repro` computes them")
    for cell in cells:
        write_parquet(file_of(folder, cell.result), rows_of(cell.result, cell.personas))
    rows = sum(len(cell.personas) for cell in cells)
    print(f"{folder}: {rows:,} rows of {len(cells)} of the study's {len(study.cells)} cells")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="The study's table as partitioned parquet.")
    parser.add_argument("folder", type=Path, nargs="?", default=TABLE)
    main(parser.parse_args().folder)
