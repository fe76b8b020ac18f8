"""What the documentation is made of: the picture of the pipeline, pages, no foreign loads."""

import importlib.util
import re

import pytest
import yaml
from conftest import ROOT

MAKE = ROOT / "docs" / "_make"


def load(name):
    spec = importlib.util.spec_from_file_location(f"docs_{name}", MAKE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pipeline():
    return load("pipeline")


def test_the_picture_of_the_pipeline_is_that_of_dvc_yaml(pipeline):
    drawn = pipeline.PICTURE.read_text()
    assert drawn == pipeline.picture(), "run python docs/_make/pipeline.py"
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    told = set(re.findall(r'y="[0-9.]+">(\w+)</text>', drawn))
    assert {name for name, stage in stages.items() if "foreach" not in stage} <= told


def test_an_arrow_points_to_the_stage_that_reads(pipeline):
    arrows = set(pipeline.stages().edges)
    assert {("train", "evaluate"), ("geometry", "evaluated"), ("analyse", "report")} <= arrows
    assert not any(later == "base" for _, later in arrows)


def test_the_documentation_has_every_page_in_its_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    pages = {file.name for file in (ROOT / "docs").glob("*.md")}
    assert pages <= set(re.findall(r"(\w+\.md)", text))


def test_what_a_page_loads_from_elsewhere_is_found(tmp_path):
    (tmp_path / "page.html").write_text(
        '<a href="https://a.example">go</a><script src="https://b.example/x.js"></script>'
        '<link rel="stylesheet" href="//c.example/x.css"><link rel="canonical" href="https://d.x">'
        "<style>@import 'https://e.example/x.css';</style><img src='own.png'>"
        "<p style=\"background: url('https://f.example/x.png')\">"
    )
    (tmp_path / "own.css").write_text("@font-face { src: url(https://g.example/x.woff2) }")
    found = [each.split("//")[1][0] for each in load("offline").remote(tmp_path)]
    assert found == ["b", "c", "e", "f", "g"]
