"""What MLflow's pages show of a study: names that read well, the columns cells are compared by.

MLflow has no default for the columns of its table of runs. It has views that one person shares with
another, in a tag of the experiment, and a note above the runs, which here holds the link to the
view.
"""

import json
from collections.abc import Mapping

# headline numbers that stand on their own in MLflow, by the name that they have there
NAMES = {
    "source_delta": "source change",
    "bystander_delta": "bystander mean",
    "spearman_raw": "rho",
    "spearman_raw_family": "rho in family",
    "spearman_raw_outside": "rho outside family",
    "spearman_raw_p": "p",
    "mass_after": "label mass",
}
MINUTES = "minutes"
PARAMS = ("source", "seed", "variant", "behaviour", "model")
VIEW = "cells"
DIGITS = 4
# MLflow's own words for metrics without a group and for the machine's load; by itself it draws the
# first, which cells are compared by, below the bounds of all intervals
SECTIONS = {"Model metrics": True, "train": True, "study": True} | dict.fromkeys(
    ("more", "interval", "p", "profile", "System metrics"), False
)


def shown(experiment: str) -> dict[str, str]:
    """Tags that let MLflow's pages show an experiment with the columns that cells compare by.

    Parameters
    ----------
    experiment : str
        Its id.
    """
    columns = [
        *(f"params.`{name}`" for name in PARAMS),
        *(f"metrics.`{name}`" for name in (*NAMES.values(), MINUTES)),
    ]
    view = {
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", *columns, "runDateAndNestInfo", "duration"],
        # by any other order than that of time MLflow folds no children away
        "orderByKey": "params.`source`",
        "orderByAsc": True,
        "compareRunCharts": [],  # one of each metric, as by itself
        "compareRunSections": [
            {
                "uuid": name,
                "name": name,
                "display": opened,
                "isReordered": False,
                "deleted": False,
                "isGenerated": True,
            }
            for name, opened in SECTIONS.items()
        ],
        "isAccordionReordered": True,
    }
    link = f"#/experiments/{experiment}/runs?viewStateShareKey={VIEW}"
    return {
        "mlflow.experimentKind": "custom_model_development",
        f"mlflow.sharedViewState.{VIEW}": json.dumps(view),
        "mlflow.note.content": (
            "One run per study, with its report, and below it one per cell. **[Open the table with "
            f"the columns that compare them]({link})**\n\n"
            "`source change`, `bystander mean`: change by the fine-tuning, in percentage points "
            "for accuracy. `rho`: rank correlation of a persona's change with its cosine to the "
            "source, over personas that were never trained, and `p` of it. Bounds of intervals are "
            "under `interval/`, other p values under `p/`, other numbers under `more/`, seconds "
            "and rates under `profile/`, the machine's load under `system/`."
        ),
    }


def grouped(headline: Mapping[str, float]) -> dict[str, float]:
    """Name the headline numbers for MLflow, which draws a chart of each metric, group by group.

    Those that cells are compared by stand on their own; the others go into groups behind them.
    MLflow's table writes all digits of a number and cuts them off at the column's end: of each are
    logged ``DIGITS``. The others stand in the run's ``analysis/result.json``.

    Parameters
    ----------
    headline : mapping
        Of a cell's result.
    """
    return {group_of(name): float(f"{value:.{DIGITS}g}") for name, value in headline.items()}


def group_of(name: str) -> str:
    """Name a headline number as MLflow's runs hold it.

    Parameters
    ----------
    name : str
        As a cell's result has it.
    """
    if name in NAMES:
        return NAMES[name]
    stem, _, end = name.rpartition("_")
    if end in ("low", "high"):
        return f"interval/{name}"
    return f"p/{stem}" if end == "p" else f"more/{name}"
