"""The verdict follows the data at both sides of every bound, and the page works in a browser."""

import base64
import hashlib
import json
import re
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from axe import violations
from browser import dumped, needs_browser
from conftest import ROOT
from made import ACCURACY, AGREEMENT, evidence_of, finished, numbers_of, published

from persona_leakage.analysis.estimate import Estimate
from persona_leakage.errors import InputError
from persona_leakage.report import figures, tables, words_geometry_figure
from persona_leakage.report.page import markdown_code, markdown_text
from persona_leakage.report.prose import answer, how_sure
from persona_leakage.report.tables import beside_published, headline_table, study_tables
from persona_leakage.report.verdict import verdict
from persona_leakage.report.write import write_report
from persona_leakage.study.results import Clash

SEEDS = (42, 137, 256)
CURVE = pd.DataFrame({"step": [1, 2], "loss": [2.0, 1.0]})
CLASH = Clash(source="assistant", negative="assistant", part="assistant")


@pytest.fixture(scope="module", autouse=True)
def quick():
    """What is computed over seeds has tests of its own, and takes seconds."""

    def evidence(personas, changes, *_, **__):
        [source] = personas.loc[personas["role"] == "source", "persona"]
        return evidence_of(source=source, seeds=len(changes), rho_by_seed=(-0.6,) * len(changes))

    stand_in = numbers_of(None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "evidence_of_cells", evidence)
        told = stand_in.words_or_geometry
        patch.setattr(tables, "words_or_geometry", lambda *_: told)
        patch.setattr(tables, "words_or_geometry_over_seeds", lambda *_: told)
        fitted = replace(stand_in.slope, reason=None)
        patch.setattr(tables, "mixed_model", lambda *_: fitted)
        patch.setattr(
            words_geometry_figure,
            "words_geometry",
            lambda *_: figures.training_curve(CURVE, "made"),
        )
        yield


@pytest.fixture
def tables_of():
    return lambda *cells: study_tables("made", cells, [], {}, published())


@pytest.fixture
def judge(tables_of):
    return lambda *cells: tables_of(*cells).verdict


def three(**numbers):
    return [finished(seed, **numbers) for seed in SEEDS]


def test_the_evidence_is_over_the_seeds_of_a_source(judge):
    conclusion = judge(*three(), *three(source="comedian"))
    assert [each.evidence.source for each in conclusion.findings] == ["villain", "comedian"]
    assert [each.evidence.seeds for each in conclusion.findings] == [3, 3]


def test_neither_a_clash_nor_a_control_is_judged(judge):
    assert judge(finished(clashes=[CLASH])).answer == "open"
    assert judge(finished(variant="non_contrastive")).findings == ()
    only = judge(finished(), finished(137, variant="shuffled_label"))
    assert only.findings[0].evidence.seeds == 1


def test_a_cell_computed_twice_is_one_seed(tables_of):
    again = replace(finished(42), label="made@12345678")
    computed = tables_of(finished(42), again)
    assert computed.verdict.confidence == "low"
    assert computed.over_seeds["seeds"].tolist() == [1]
    assert len(computed.headline) == 2  # both are shown


def test_cells_of_other_parameters_are_never_averaged_as_seeds(tables_of):
    other = [
        replace(cell, label="made#bbbbbbbb")
        for cell in (finished(137, fingerprint="b" * 16), finished(256, fingerprint="b" * 16))
    ]
    computed = tables_of(finished(42), *other)
    assert computed.over_seeds[["study", "seeds"]].values.tolist() == [
        ["made", 1],
        ["made#bbbbbbbb", 2],
    ]
    assert [each.evidence.seeds for each in computed.verdict.findings] == [1, 2]
    assert computed.verdict.confidence == "low"
    said = answer(computed.verdict, computed.broken_by_group, ACCURACY)
    assert "villain (made#bbbbbbbb)" in said


def test_seeds_of_one_setting_are_pooled_whatever_their_label(tables_of):
    cells = [replace(cell, label=f"made@{cell.result.seed}") for cell in three()]
    computed = tables_of(*cells)
    assert computed.over_seeds["seeds"].tolist() == [3]
    assert computed.verdict.confidence == "high"


def test_different_outcomes_are_not_set_side_by_side(tables_of):
    with pytest.raises(
        InputError, match="measures agreement, made/villain-42-contrastive accuracy"
    ):
        tables_of(finished(42), finished(137, outcome=AGREEMENT))


def test_who_broke_is_named_worst_first(tables_of):
    cells = three()
    broken = tables_of(*cells).broken
    assert broken["delta"].is_monotonic_increasing
    rows = pd.concat([cell.personas for cell in cells])
    rows = rows[(rows["role"] == "bystander") & (rows["p_holm"] < 0.05)]
    counts = rows["persona"].value_counts()
    assert set(broken["persona"]) == set(counts[counts > 1].index) != set()


def test_the_headline_has_the_boundary_where_one_was_fitted():
    cell = finished()
    assert cell.result.boundary.reason is None
    assert "boundary_midpoint" in headline_table([cell])
    none = cell.result.boundary.model_copy(update={"reason": "too few"})
    result = cell.result.model_copy(update={"boundary": none})
    assert "boundary_midpoint" not in headline_table([replace(cell, result=result)])


def test_the_published_tables_stand_beside_each_study_of_the_same_benchmark():
    cells = []
    for study, benchmark, after in (
        ("large", "arc_challenge", (0.1, 0.2)),
        ("small", "arc_challenge", (0.5, 0.7)),
        ("pocket", "everyday", (0.4, 0.4)),
    ):
        params = {
            "model.name": f"a {study} model",
            "questions.train": [benchmark],
            "questions.evaluate": [benchmark],
        }
        for seed, accuracy in zip((42, 137), after, strict=True):
            numbers = {"source_before": 0.8, "source_after": accuracy}
            cells.append(finished(seed, study=study, fingerprint=study, params=params, **numbers))
    beside = beside_published(cells, published())
    rows = beside["headline"].set_index("study")
    assert rows["model"].to_dict() == {"large": "a large model", "small": "a small model"}
    assert rows["after, here"].to_dict() == pytest.approx({"large": 15, "small": 60})
    assert rows["after, published"].tolist() == pytest.approx([3.2, 3.2])
    assert beside["gradient"]["persona"].tolist() == ["villain", "villain"]
    assert beside_published(cells[-2:], published()) == {}


def test_the_published_table_is_in_percent_as_ours_is():
    shown = published().in_percent()
    assert shown["post_accuracy (%)"].tolist() == pytest.approx(
        (100 * published().headline["post_accuracy"]).tolist()
    )
    assert published().headline["post_accuracy"].max() <= 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a|b", r"a\|b"),
        ("two\nlines", "two lines"),
        ("<script>x</script>", r"\<script>x\</script>"),
        ("p < 0.05", "p < 0.05"),
        ("[a](b)", r"\[a\](b)"),
        ("kindergarten_teacher", "kindergarten_teacher"),
        ("_slanted_ *bold*", r"\_slanted\_ \*bold\*"),
    ],
)
def test_markdown_takes_text_for_text(text, expected):
    assert markdown_text(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "`plain`"), ("a`b", "``a`b``"), ("`x`", "`` `x` ``"), ("a\n# b", "`a # b`")],
)
def test_markdown_cannot_leave_a_code_span(text, expected):
    assert markdown_code(text) == expected


def with_figures(cell, folder):
    """The cell with real figures in its folder."""
    folder.mkdir(parents=True)
    outcome = cell.result.outcome
    figures.save(figures.scatter(cell.personas, "made", outcome), folder / "gradient")
    return replace(cell, folder=folder)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Pages of one cell, of several seeds, and of two settings, rendered now."""
    folder = tmp_path_factory.mktemp("pages")
    first = with_figures(finished(42), folder / "first")  # the others' figures are of no matter
    other = finished(42, fingerprint="b" * 16, folder=first.folder)
    second = finished(137, folder=first.folder)
    cells = [first, second, replace(other, label="made#bbbbbbbb")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr("persona_leakage.report.write.analyse", lambda *_: published())
        for name, shown in (("one", cells[:1]), ("seeds", cells[:2]), ("settings", cells)):
            origins = {"<img src=x onerror=alert(1)>": "a `path` | of <b>somebody</b>"}
            write_report(folder / name, "made", shown, ["villain-7-contrastive"], origins)
    return folder


CHECK = """
const faults = []; addEventListener("error", fault => faults.push(fault.message));
addEventListener("securitypolicyviolation", fault => faults.push(fault.blockedURI));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  document.querySelector("details")?.dispatchEvent(new Event("toggle"));  // draws what is open
  const table = document.querySelector("table.personas");
  const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const column = heads.indexOf("delta (pp)");
  const value = row => parseFloat(row.cells[column].textContent);
  const read = () => [...table.tBodies[0].rows].map(value);
  const press = () => table.tHead.rows[0].cells[column].querySelector("button").click();
  press(); const up = read(); press(); const down = read();
  const search = table.closest(".people").querySelector("input");
  search.value = "negative"; search.dispatchEvent(new Event("input"));
  const found = [...table.tBodies[0].rows].filter(row => !row.hidden)
    .map(row => row.cells[1].textContent);
  const charts = [...document.querySelectorAll(".chart")];
  const board = charts[0].querySelector("svg");
  board.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  const told = document.getElementById("tell").textContent;
  const points = charts.map(chart => chart.querySelectorAll(":scope > svg > .point").length);
  charts[0].querySelector("input.axis[value=raw]").click();
  const result = { up, down, faults, found, told, points,
    axis: charts[0].querySelector("svg .axis").textContent,
    wide: document.documentElement.scrollWidth - innerWidth,
    verdict: document.getElementById("verdict").textContent,
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    loaded: performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !name.startsWith("data:")).length };
  const note = document.createElement("pre"); note.id = "result";
  note.textContent = JSON.stringify(result); document.body.append(note);
});
"""


@needs_browser
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("name", ["one", "seeds", "settings"])
def test_the_page_opens_draws_sorts_and_complains_of_nothing(pages, name, width, tmp_path):
    copy = tmp_path / "report.html"
    page = (pages / name / "report.html").read_text()
    digest = base64.b64encode(hashlib.sha256(CHECK.encode()).digest()).decode()
    page = page.replace("script-src ", f"script-src 'sha256-{digest}' ", 1)
    copy.write_text(page.replace("</body>", f"<script>{CHECK}</script></body>", 1))
    flags = (f"--window-size={width},900", "--enable-logging=stderr", "--v=0")
    done = dumped(copy, tmp_path, *flags)
    told = done.stdout.split('<pre id="result">')[1].split("</pre>")[0]
    seen = json.loads(told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert len(seen["up"]) == 24
    assert all(a <= b for a, b in pairwise(seen["up"]))
    assert all(a >= b for a, b in pairwise(seen["down"]))
    assert seen["found"] == ["negative"]
    assert " of 80 never-trained personas changed, as taught" in seen["verdict"]
    assert "leakage follows the cosine gradient" in seen["verdict"]
    cells = {"one": 1, "seeds": 2, "settings": 3}[name]
    assert seen["points"] == [22, *[24] * cells]  # the first without negative and condition
    assert "You are number" in seen["told"]  # the prompt of the point the arrow went to
    assert seen["axis"] == "cosine to the source, base model"
    assert seen["wide"] <= 0  # the page itself never scrolls sideways
    assert seen["faults"] == []
    assert seen["broken"] == 0
    assert seen["loaded"] == 0  # self-contained
    assert ":CONSOLE" not in done.stderr


PRINT = """
addEventListener("load", () => {
  const parts = [...document.querySelectorAll("main > details")];
  const opened = () => parts.map(part => [part.className, part.open]);
  const before = opened(); dispatchEvent(new Event("beforeprint"));
  const paper = opened(); dispatchEvent(new Event("afterprint"));
  const note = document.createElement("pre"); note.id = "result";
  note.textContent = JSON.stringify([before, paper, opened()]); document.body.append(note);
});
"""


@needs_browser
def test_printed_all_is_open_but_the_cells_and_afterwards_as_before(pages, tmp_path):
    page = (pages / "seeds" / "report.html").read_text()
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    copy = tmp_path / "report.html"
    copy.write_text(page.replace("</body>", f"<script>{PRINT}</script></body>", 1))
    told = dumped(copy, tmp_path).stdout.split('<pre id="result">')[1].split("</pre>")[0]
    before, paper, after = json.loads(told)
    assert before == after
    assert len([kind for kind, _ in before if kind == "cell"]) == 2
    assert all(opened == (kind != "cell") for kind, opened in paper)
    assert not all(opened for kind, opened in before if kind != "cell")


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_no_barrier_in_the_page(pages, dark, width, tmp_path):
    found = violations(pages / "settings" / "report.html", tmp_path, dark=dark, width=width)
    assert found == {}


FIRST = "details.cell:nth-child(1 of .cell)"


@pytest.mark.slow
@needs_browser
@pytest.mark.parametrize(("dark", "width"), [(False, 390), (True, 1280)])
def test_axe_finds_no_barrier_in_the_largest_report(dark, width, tmp_path):
    page = ROOT / "reports" / "qwen" / "report.html"
    opened = f"main > details:not(.cell), {FIRST}, {FIRST} details"  # one of 25 cells like it
    assert violations(page, tmp_path, dark=dark, width=width, opened=opened, seconds=600) == {}


def test_the_slope_over_seeds_is_told_once_per_source(pages):
    for name in ("one", "seeds"):
        page = (pages / name / "report.html").read_text()
        assert page.count("slope between seeds") == 1


def test_the_answer_and_its_figure_stand_before_layers_and_heat_map(pages):
    for name in ("one", "seeds"):
        text = (pages / name / "report.html").read_text()
        places = [
            text.index(words)
            for words in (
                'id="verdict"',
                'class="chart"',
                'id="broken"',
                "Source by source",
                "How the change follows the geometry of each layer",
                "Mean change of every",
            )
        ]
        assert places == sorted(places)


def test_a_cell_brings_tables_that_the_page_has_not_heard_of(pages):
    text = (pages / "one" / "report.html").read_text()
    assert "<h3>Where it goes</h3>" in text
    assert "<td>25.0</td>" in text and "<td>–</td>" in text
    assert "A note of the behaviour." in text
    assert "concealed" not in text


def test_what_was_planted_is_inert(pages):
    page = (pages / "one" / "report.html").read_text()
    assert "<img src=x" not in page and "<b>bold</b>" not in page and "<b>somebody" not in page
    text = (pages / "one" / "report.md").read_text()
    assert "\n- \\<img src=x onerror=alert(1)>: ``a `path` | of <b>somebody</b>``\n" in text


@pytest.mark.parametrize(
    ("fields", "remedy"),
    [
        (
            {"rho": Estimate(-0.2, -0.5, 0.1)},
            "for villain, 100 personas instead of 80 or 200 questions instead of 50",
        ),
        ({"pseudo_p": 0.4}, "for villain, other sources, or another model"),
        ({"source_change": Estimate(-3.0, -5.0, -1.0)}, "for villain, a training that takes hold"),
        ({"by_similarity": True}, "for villain, personas chosen without regard to similarity"),
        ({"rho": Estimate(-0.2, -0.5, 0.1), "seeds": 1}, "more than one seed, to begin with; for"),
    ],
)
def test_what_is_not_concluded_is_said_on_the_first_screen_with_what_would_settle_it(
    fields, remedy
):
    conclusion = verdict([numbers_of(evidence_of(**fields))], ACCURACY)
    assert conclusion.answer in ("inconclusive", "open")
    said = how_sure(conclusion, ACCURACY)
    assert f"What would settle it: {remedy}" in said
    assert "paraphrases" in said or conclusion.answer == "open"


@pytest.mark.parametrize(
    "fields",
    [
        [{}],
        [{}, {"source": "comedian"}],
        [{}, {"source": "comedian", "source_change": Estimate(-3.0, -5.0, -1.0)}],
        [{"source_change": Estimate(-3.0, -5.0, -1.0)}],
        [{"rho": Estimate(-0.2, -0.5, 0.1)}],
    ],
)
def test_the_answer_is_two_sentences(fields):
    conclusion = verdict([numbers_of(evidence_of(**each)) for each in fields], ACCURACY)
    said = answer(conclusion, {}, ACCURACY)
    assert len(re.findall(r"\.(?: |$)", said)) == 2
    assert said.endswith(".")


def test_a_conclusion_asks_for_nothing_more():
    said = how_sure(verdict([numbers_of(evidence_of())], ACCURACY), ACCURACY)
    assert "settle" not in said
