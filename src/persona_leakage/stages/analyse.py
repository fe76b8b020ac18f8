"""Compute the tables, statistics and figures of a cell."""

import mlflow
import pandas as pd

from persona_leakage import figures
from persona_leakage.catalog import load_personas
from persona_leakage.errors import command
from persona_leakage.files import read_json, whole, write_json
from persona_leakage.params import Cell, load_study
from persona_leakage.stages import paths
from persona_leakage.stages.arguments import cell_from_arguments
from persona_leakage.statistics import headline, persona_table, roles
from persona_leakage.tracking import Stopwatch, cell_run


@command
def main(cell: Cell) -> None:
    """Write ``personas.csv``, ``metrics.json`` and the figures; log them to the cell's run."""
    study = load_study()
    catalogue = load_personas(paths.CATALOGUE)
    chosen = read_json(paths.similarity(study) / "personas.json")
    audit = read_json(paths.contrast(study, cell) / "manifest.json")
    negatives = [row["persona"] for row in audit["counts"] if row["part"] != "source"]
    clock = Stopwatch()
    with clock.time("analyse"):
        pairs = pd.read_parquet(paths.similarity(study) / "pairs.parquet")
        towards = pairs[(pairs["layer"] == chosen["layer"]) & (pairs["source"] == cell.source)]
        table = persona_table(
            pd.read_parquet(paths.baseline(study)),
            pd.read_parquet(paths.scores(study, cell)),
            towards,
            catalogue,
            roles([catalogue[name] for name in chosen["evaluated"]], cell.source, negatives),
            cell.seed,
        )
        numbers = headline(table, cell.seed)
        title = f"{cell.source.replace('_', ' ')}, seed {cell.seed}, {cell.variant}"
        curve = pd.read_csv(paths.adapter(study, cell) / "curve.csv")
        drawn = {
            "gradient": figures.scatter(table, title),
            "gradient_centred": figures.scatter(table, title, kind="centred"),
            "before_after": figures.before_after(table, title),
            "training": figures.training_curve(curve, title),
        }
    folder = paths.analysis(study, cell)
    with whole(folder) as partial:
        partial.mkdir()
        table.to_csv(partial / "personas.csv", index=False, float_format="%.6g")
        curve.to_csv(partial / "curve.csv", index=False)
        write_json(partial / "metrics.json", numbers)
        write_json(partial / "manifest.json", audit)
        for name, figure in drawn.items():
            figures.save(figure, partial / name)
    with cell_run(study, cell):
        mlflow.log_metrics({name: value for name, value in numbers.items() if value == value})
        mlflow.log_metrics(clock.parts)
        mlflow.log_artifacts(str(folder), "analysis")
        mlflow.log_table(table, "personas.json")


if __name__ == "__main__":
    main(cell_from_arguments())
