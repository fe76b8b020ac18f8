"""What DVC compares: the same few names whatever the cells are called."""

import json
import re
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from made import finished

from persona_leakage.report.write import COMPARED, metrics


def tables(judged, cells=None, broken=0):
    return SimpleNamespace(
        judged=judged,
        cells=tuple(cells or judged),
        broken=pd.DataFrame({"persona": ["x"] * broken}),
    )


def test_a_study_of_any_cells_has_the_same_few_numbers():
    one, two = finished(42), finished(137, study="other")
    first, second = metrics(tables([one])), metrics(tables([one, two], broken=3))
    assert first.keys() == second.keys() == {"cells", "broke", *COMPARED}
    assert (first["cells"], second["cells"], second["broke"]) == (1, 2, 3)
    deltas = [cell.result.headline["bystander_delta"] for cell in (one, two)]
    assert second["bystander_delta"] == pytest.approx(sum(deltas) / 2, abs=0.001)
    assert len(json.dumps(first)) < 200  # what `dvc metrics show` has to put on a line


def test_a_study_of_controls_alone_has_them_too():
    control = finished(42)
    assert metrics(tables([], [control])) == metrics(tables([control]))


def test_every_chart_has_its_template_and_the_columns_it_draws():
    plots = yaml.safe_load((ROOT / "dvc.yaml").read_text())["plots"]
    charts = [chart for plot in plots if isinstance(plot, dict) for chart in plot.items()]
    assert len(charts) == 2
    for path, chart in charts:
        template = json.loads((ROOT / ".dvc" / "plots" / f"{chart['template']}.json").read_text())
        assert template["data"] == {"values": "<DVC_METRIC_DATA>"}
        drawn = set(re.findall(r"toNumber\(datum\.(\w+)\)", json.dumps(template)))
        assert {chart["x"], chart["y"]} <= drawn, path
