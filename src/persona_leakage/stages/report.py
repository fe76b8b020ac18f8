"""Write what a study concluded."""

import shutil
from itertools import product

import pandas as pd

from persona_leakage.errors import InputError, command
from persona_leakage.files import read_json, sha256, whole, write_json, write_text
from persona_leakage.params import Cell, load_study
from persona_leakage.report import (
    Finished,
    beside_published,
    headline_table,
    long_table,
    page,
    summary,
)
from persona_leakage.stages import paths
from persona_leakage.tracking import flat

FIGURES = ("gradient", "gradient_centred", "before_after", "training")


@command
def main() -> None:
    """Write the tables, figures and ``report.html`` into ``reports/``."""
    study = load_study()
    cells, missing = [], []
    for source, seed, variant in product(study.sources, study.seeds, study.variants):
        cell = Cell(source, seed, variant)
        folder = paths.analysis(study, cell)
        if not (folder / "metrics.json").exists():
            missing.append(cell)
            continue
        cells.append(
            Finished(
                cell=cell,
                table=pd.read_csv(folder / "personas.csv"),
                numbers={
                    name: float("nan") if value is None else value
                    for name, value in read_json(folder / "metrics.json").items()
                },
                audit=read_json(folder / "manifest.json"),
                curve=pd.read_csv(folder / "curve.csv"),
                figures={name: folder / f"{name}.svg" for name in FIGURES},
            )
        )
    if not cells:
        raise InputError(f"outputs/{study.study}: no finished cell; run `dvc repro analyse`")
    questions = read_json(paths.questions(study) / "manifest.json")
    with whole(paths.report(study)) as partial:
        partial.mkdir()
        headline_table(cells).to_csv(partial / "headline.csv", index=False, float_format="%.6g")
        long_table(cells, "table").to_csv(
            partial / "personas.csv", index=False, float_format="%.6g"
        )
        long_table(cells, "curve").to_csv(partial / "curves.csv", index=False, float_format="%.6g")
        write_json(partial / "metrics.json", summary(cells))
        for finished in cells:
            for name in ("gradient", "before_after"):
                source_path = finished.figures[name].with_suffix(".png")
                shutil.copyfile(source_path, partial / f"{finished.cell}_{name}.png")
        write_text(
            partial / "report.html",
            page(
                study=flat(study.model_dump()),
                cells=cells,
                missing=missing,
                questions=questions,
                published=(
                    beside_published(
                        cells,
                        pd.read_csv("reference/headline.csv"),
                        pd.read_csv("reference/villain_gradient.csv"),
                    )
                    if study.study == "paper"
                    else {}
                ),
                provenance={
                    "params": sha256("params.yaml"),
                    "train questions": questions["sha256"]["train.jsonl"],
                    "eval questions": questions["sha256"]["evaluate.jsonl"],
                },
            ),
        )


if __name__ == "__main__":
    main()
