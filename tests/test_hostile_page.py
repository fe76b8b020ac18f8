"""What a stranger planted in names, prompts, questions and paths is text in page and Markdown."""

from dataclasses import replace
from html import unescape

import pandas as pd
import pytest
from browser import dumped, needs_browser
from conftest import ROOT
from made import finished, published
from markdown_it import MarkdownIt
from pydantic import ValidationError
from test_report import CLASH, quick, with_figures  # noqa: F401 - a fixture

from persona_leakage.report.write import write_report
from persona_leakage.study.results import Audit, CellResult, NearDuplicate, QuestionCounts

PLANTED = (
    "</script></style></title></textarea>--><script>planted()</script><img src=x "
    'onerror=planted()><svg onload=planted()></svg>" onmouseover="planted()" x=\'`](javascript:'
    "planted())[x](javascript:planted()) <javascript:planted()> {{ planted() }} \\</script>"
)
# whatever asks for it is noticed; so is what only a click or a mouse would start
WATCH = """<script>
let hits = 0; const planted = () => { hits += 1; };
addEventListener("load", () => setTimeout(() => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  document.querySelector("details")?.dispatchEvent(new Event("toggle"));
  document.querySelectorAll(".point, td, th, summary, button").forEach(each => {
    for (const kind of ["mouseover", "mouseenter", "pointerenter", "focus", "click"])
      each.dispatchEvent(new MouseEvent(kind, { bubbles: true }));
  });
  const alive = [...document.querySelectorAll("*")].filter(each =>
    [...each.attributes].some(({ name, value }) =>
      (name.startsWith("on") || /^\\s*javascript:/i.test(value)) && value.includes("planted"))
    || (each.localName == "script" && each.textContent.trim() == "planted()"));
  setTimeout(() => { document.body.replaceChildren();
    document.body.setAttribute("result", `${hits} ran, ${alive.length} stand there`); }, 300);
}, 300));
</script>"""


def hostile(label, folder):
    """A cell in which everything that is text has been planted in."""
    cell = with_figures(finished(study="made"), folder)
    named = {name: name + PLANTED for name in cell.personas["persona"][1:]}
    people = cell.personas.replace({"persona": named})
    people["prompt"] += PLANTED
    people["category"] = people["category"].where(people.index == 0, "unrelated" + PLANTED)
    people["relation"] = people["relation"].where(people.index != 1, "villain" + PLANTED)

    def of(table):
        told = table.model_dump()
        for key in ("title", "note"):
            told[key] = f"{told.get(key) or ''}{PLANTED}"
        for column in told["columns"]:
            column["title"] += PLANTED
        told["rows"] = [
            {key: each + PLANTED if isinstance(each, str) else each for key, each in row.items()}
            for row in told["rows"]
        ]
        return type(table).model_validate(told)

    result = cell.result.model_copy(
        update={
            "params": {key: f"{value}{PLANTED}" for key, value in cell.result.params.items()},
            "categories": of(cell.result.categories),
            "benchmarks": of(cell.result.benchmarks),
            "outliers": of(cell.result.outliers),
            "diagnostics": tuple(map(of, cell.result.diagnostics)),
            "samples": tuple(map(of, cell.result.diagnostics)),
            "audit": Audit(
                counts=[{"part": PLANTED, "persona": PLANTED, "examples": 10, "correct": 0}],
                rendered={"villain": PLANTED, PLANTED: PLANTED},
                clashes=[CLASH.model_copy(update={"negative": PLANTED, "part": PLANTED})],
            ),
            "questions": QuestionCounts(
                train=60,
                evaluate=50,
                near_duplicates=[
                    NearDuplicate(train=PLANTED, evaluate=PLANTED, exact=False, overlap=0.9)
                ],
                credits={PLANTED: PLANTED},
            ),
        }
    )
    before, after, margin = (
        table.rename(index=named, columns=lambda key: key + PLANTED)
        for table in (cell.before, cell.after, cell.margin_delta)
    )
    pairs = cell.pairs.replace({"source": named, "persona": named})
    return replace(
        cell,
        result=result,
        personas=people,
        before=before,
        after=after,
        margin_delta=margin,
        pairs=pairs,
        label=label,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("persona_leakage.report.write.analyse", lambda *_: published())
        write_report(
            folder / "report",
            f"made{PLANTED}",
            [hostile("made", folder / "cell"), hostile(f"other{PLANTED}", folder / "other")],
            [f"villain-7-contrastive{PLANTED}"],
            {f"a path{PLANTED}": f"/home/{PLANTED}"},
        )
    return folder / "report"


def opened(page, folder):
    """What a browser says of a page that watches itself."""
    file = folder / "page.html"
    file.write_text(page.replace("<head>", f"<head>{WATCH}", 1))
    told = dumped(file, folder, "--virtual-time-budget=5000").stdout
    assert 'result="' in told, told[-500:]
    return told.split('result="')[1].partition('"')[0]


@needs_browser
def test_what_is_planted_does_run_where_nothing_holds_it(tmp_path):
    bare = f"<html><head></head><body><p>{PLANTED}</p></body></html>"
    assert opened(bare, tmp_path) != "0 ran, 0 stand there"


@needs_browser
def test_nothing_planted_runs_in_the_page_even_without_its_policy(report, tmp_path):
    page = (report / "report.html").read_text(encoding="utf-8")
    policy = page[page.index("<meta http-equiv") :].partition(">")[0] + ">"
    assert "script-src 'sha256-" in unescape(policy)
    assert page.count("planted()") > 50
    assert opened(page.replace(policy, ""), tmp_path) == "0 ran, 0 stand there"


@needs_browser
def test_nothing_planted_runs_in_the_markdown_where_markup_is_let_through(report, tmp_path):
    text = (report / "report.md").read_text(encoding="utf-8")
    assert text.count("planted()") > 20
    shown = MarkdownIt("commonmark", {"html": True}).enable("table")
    shown.validateLink = lambda url: True  # a renderer that lets everything through
    page = f"<html><head></head><body>{shown.render(text)}</body></html>"
    assert opened(page, tmp_path) == "0 ran, 0 stand there"


def test_the_policy_lets_the_pages_own_script_run_and_nothing_else(report):
    page = (report / "report.html").read_text(encoding="utf-8")
    policy = unescape(page.partition('http-equiv="Content-Security-Policy"')[2].partition(">")[0])
    for rule in ("default-src 'none'", "base-uri 'none'", "form-action 'none'"):
        assert rule in policy
    assert "unsafe-eval" not in policy
    assert "script-src 'unsafe" not in policy
    # the block of data cannot be left from inside
    assert page.count("</script>") == page.count("<script")


@pytest.mark.parametrize("field", ["study", "source", "variant"])
@pytest.mark.parametrize("name", ["../../etc", "a/b", "<script>", "a b", "", "a\n"])
def test_a_cell_whose_name_would_lead_elsewhere_is_not_read(field, name):
    content = finished().result.model_dump()
    with pytest.raises(ValidationError, match=field):
        CellResult.model_validate(content | {field: name})


def test_every_file_of_the_report_lies_in_its_folder(report):
    assert {path.parent for path in report.rglob("*")} == {report}
    assert isinstance(pd.read_csv(report / "personas.csv"), pd.DataFrame)
