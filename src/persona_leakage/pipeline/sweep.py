"""Learning rate against epochs on one source, as DVC experiments: ``make sweep``.

Every setting is an experiment that ``dvc exp show`` lists and a run that the MLflow UI compares;
their headline numbers go into one table.
"""

import subprocess
import sys

import mlflow

from persona_leakage.errors import command
from persona_leakage.files import whole
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.tracking import tagged, use_store
from persona_leakage.report import figures
from persona_leakage.study.parameters import load_study

SETTINGS = ((1e-5, 3), (5e-6, 5), (5e-6, 10), (1e-5, 5), (5e-6, 20))  # the original's five
COLUMNS = ("source_delta", "bystander_delta", "unrelated_delta", "spearman_raw", "spearman_raw_p")


@command
def main() -> None:
    """Run the settings one after the other, then write ``reports/<study>_sweep``."""
    study = load_study()
    dvc = [sys.executable, "-m", "dvc", "exp"]
    listed = subprocess.run([*dvc, "list", "--name-only"], capture_output=True, text=True)
    for rate, epochs in SETTINGS:
        name = f"{study.study}-lr{rate:g}-epochs{epochs}"
        if name in listed.stdout.split():
            # of an earlier sweep: its results stay in DVC's cache, and only what changed runs again
            subprocess.run([*dvc, "remove", "--quiet", name], check=True)
        experiment = [
            *("run", "--name", name),
            *("-S", f"train.learning_rate={rate}", "-S", f"train.epochs={epochs}"),
            *("-S", f"sources=[{study.sources[0]}]", "-S", f"seeds=[{study.seeds[0]}]"),
            *("-S", "variants=[contrastive]"),
        ]
        done = subprocess.run([*dvc, *experiment])
        if done.returncode:
            sys.exit(done.returncode)
    use_store()
    swept = {"source": study.sources[0], "seed": study.seeds[0], "variant": "contrastive"}
    runs = mlflow.search_runs(
        experiment_names=[study.study],
        filter_string=tagged(swept),
        output_format="pandas",
    )
    runs = runs.drop_duplicates(["params.train.learning_rate", "params.train.epochs"])
    table = runs.rename(
        columns={
            "params.train.learning_rate": "learning_rate",
            "params.train.epochs": "epochs",
            **{f"metrics.{name}": name for name in COLUMNS},
        }
    )
    table["learning_rate"] = table["learning_rate"].astype(float)
    table["epochs"] = table["epochs"].astype(int)
    asked = [pair in SETTINGS for pair in zip(table["learning_rate"], table["epochs"], strict=True)]
    table = table[asked].sort_values(["learning_rate", "epochs"])
    # MLflow has no column for what no run could compute: rho, where nothing changed
    table = table.reindex(columns=["learning_rate", "epochs", *COLUMNS])
    with whole(paths.report(study).with_name(f"{study.study}_sweep")) as partial:
        partial.mkdir()
        table.to_csv(partial / "sweep.csv", index=False)
        title = f"{study.study}: {study.sources[0].replace('_', ' ')}, seed {study.seeds[0]}"
        figures.save(figures.sweep_table(table, title), partial / "sweep")


if __name__ == "__main__":
    main()
