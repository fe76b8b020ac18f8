"""What DVC compares: the same few names whatever the cells are called."""

import json
import re
from types import SimpleNamespace

import pandas as pd
import pytest
import yaml
from browser import dumped, needs_browser
from conftest import ROOT
from dvc.repo import Repo
from dvc_render.html import HTML
from dvc_render.vega import VegaRenderer
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


@needs_browser
@pytest.mark.parametrize("reached", [False, True])
def test_a_chart_whose_scripts_cannot_be_reached_says_so(reached, tmp_path):
    named = Repo(ROOT).config["plots"]["html_template"]
    page = HTML((ROOT / ".dvc" / named).read_text())
    drawn = "<script>window.vegaEmbed = place => document.querySelector(place).append('drawn')"
    page.with_scripts(f"{drawn}</script>" if reached else "")
    chart = json.loads((ROOT / ".dvc" / "plots" / "training.json").read_text())
    chart["title"] = "training loss"  # as DVC fills it in
    page.with_element(VegaRenderer.DIV.format(id="plot", partial=json.dumps(chart)))
    file = tmp_path / "index.html"
    file.write_text(page.embed())
    shown = dumped(file, tmp_path).stdout.partition('id="plot"')[2]
    assert ("training loss: drawn by scripts of cdn.jsdelivr.net, which cannot" in shown) != reached
    assert ("drawn</div>" in shown.replace("\n", "").replace(" ", "")) == reached
