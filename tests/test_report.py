"""The verdict follows the data at both sides of every bound, and the page works in a browser."""

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise

import pandas as pd
import pytest
from conftest import ROOT
from made import ACCURACY, AGREEMENT, NAN, finished, published, with_rival

from persona_leakage.errors import InputError
from persona_leakage.report import figures, tables
from persona_leakage.report.page import markdown_code, markdown_text
from persona_leakage.report.prose import paragraph, reasons
from persona_leakage.report.tables import beside_published, headline_table, study_tables
from persona_leakage.report.verdict import least_move
from persona_leakage.report.write import write_report
from persona_leakage.study.results import Clash

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
SEEDS = (42, 137, 256)
CLASH = Clash(source="assistant", negative="assistant", part="assistant")


@pytest.fixture
def tables_of():
    return lambda *cells: study_tables("made", cells, [], {}, published())


@pytest.fixture
def judge(tables_of, monkeypatch):
    """The verdict on cells; the mixed model takes no part in it and is left out."""
    monkeypatch.setattr(tables, "mixed_model", lambda _: None)
    return lambda *cells: tables_of(*cells).verdict


def three(**numbers):
    return [finished(seed, **numbers) for seed in SEEDS]


def said(conclusion):
    return (conclusion.answer, conclusion.confidence)


def test_three_seeds_in_agreement_are_supported_with_high_confidence(tables_of):
    conclusion = tables_of(*three()).verdict
    assert said(conclusion) == ("supported", "high")
    assert "supported (confidence: high)" in paragraph(conclusion, ACCURACY)
    assert any(
        "questions and personas crossed" in reason for reason in reasons(conclusion, ACCURACY)
    )


@pytest.mark.parametrize(
    ("seeds", "confidence"), [((42,), "low"), ((42, 137), "moderate"), (SEEDS, "high")]
)
def test_confidence_grows_with_seeds(judge, seeds, confidence):
    conclusion = judge(*(finished(seed) for seed in seeds))
    assert said(conclusion) == ("supported", confidence)
    alone = reasons(conclusion, ACCURACY)[0].startswith("A single seed")
    assert alone == (len(seeds) == 1)


@pytest.mark.parametrize(
    ("numbers", "answer"),
    [
        ({"source_delta": -10.0}, "supported"),
        ({"source_delta": 100 * (0.70 - 0.80)}, "supported"),  # -10.000000000000009
        ({"source_delta": -9.9}, "open"),
        ({"source_delta": +40.0}, "open"),
        ({"spearman_raw": -0.5}, "supported"),
        ({"spearman_raw": -0.49}, "not supported"),
        ({"spearman_raw": +0.9}, "not supported"),
        ({"spearman_raw": NAN, "spearman_raw_p": NAN}, "not supported"),
        ({"spearman_raw_p": 0.0099}, "supported"),
        ({"spearman_raw_p": 0.01}, "not supported"),
    ],
)
def test_a_cell_supports_the_gradient_within_the_bounds_alone(judge, numbers, answer):
    assert judge(*three(**numbers)).answer == answer


@pytest.mark.parametrize(
    ("numbers", "answer"),
    [
        ({"source_delta": 1.0}, "supported"),
        ({"source_delta": 0.9}, "open"),
        ({"source_delta": -4.0}, "open"),
        ({"source_delta": 4.0, "spearman_raw": 0.5}, "supported"),
        ({"source_delta": 4.0, "spearman_raw": 0.49}, "not supported"),
        ({"source_delta": 4.0, "spearman_raw": -0.9}, "not supported"),
    ],
)
def test_the_bounds_follow_the_direction_and_scale_of_the_outcome(judge, numbers, answer):
    cells = [with_rival(cell, -0.5, -0.1) for cell in three(outcome=AGREEMENT, **numbers)]
    assert judge(*cells).answer == answer
    assert least_move(AGREEMENT) == 1
    assert least_move(ACCURACY) == 10


@pytest.mark.parametrize("kind", ["spearman_centred", "partial_raw"])
@pytest.mark.parametrize(
    ("rho", "p", "confidence"),
    [(-0.1, 0.049, "high"), (-0.1, 0.05, "moderate"), (0.0, 0.01, "moderate")],
)
def test_centring_and_covariates_must_leave_the_gradient(judge, kind, rho, p, confidence):
    cells = [*three()[:2], finished(SEEDS[2], **{kind: rho, f"{kind}_p": p})]
    assert said(judge(*cells)) == ("supported", confidence)


@pytest.mark.parametrize(
    ("low", "high", "outcome", "confidence"),
    [
        (0.01, 0.5, ACCURACY, "high"),
        (0.0, 0.5, ACCURACY, "moderate"),
        (-0.5, -0.01, AGREEMENT, "high"),
        (-0.5, 0.0, AGREEMENT, "moderate"),
    ],
)
def test_words_must_predict_worse_beyond_the_interval(judge, low, high, outcome, confidence):
    cells = [with_rival(cell, low, high) for cell in three(outcome=outcome)]
    conclusion = judge(*cells)
    assert said(conclusion) == ("supported", confidence)
    alike = any("cannot be told apart" in reason for reason in reasons(conclusion, outcome))
    assert alike == (confidence == "moderate")


def test_words_must_predict_worse_on_most_seeds(judge):
    cells = [*three(), finished(7)]
    half = [*(with_rival(cell, -0.1, 0.5) for cell in cells[:2]), *cells[2:]]
    most = [with_rival(cells[0], -0.1, 0.5), *cells[1:]]
    assert judge(*half).confidence == "moderate"
    assert judge(*most).confidence == "high"


def test_most_cells_of_a_source_decide_and_disagreement_lowers_the_confidence(judge):
    weak = {"spearman_raw": -0.2, "spearman_raw_p": 0.4}
    two_of_three = [*three()[:2], finished(256, **weak)]
    assert said(judge(*two_of_three)) == ("supported", "moderate")
    one_of_two = [finished(42), finished(137, **weak)]
    assert judge(*one_of_two).answer == "partly supported"


def test_one_source_of_two_is_partly_supported(judge):
    weak = three(source="comedian", spearman_raw=-0.3, spearman_raw_p=0.04)
    assert judge(*three(), *weak).answer == "partly supported"


def test_a_clear_no_needs_no_robust_gradient_for_high_confidence(judge):
    flat = {"spearman_raw": -0.1, "spearman_centred": 0.0, "spearman_centred_p": 0.9}
    assert said(judge(*three(**flat))) == ("not supported", "high")


def test_a_source_that_hardly_moved_leaves_the_question_open_and_is_not_counted(judge):
    conclusion = judge(*three(source_delta=-2.0))
    assert said(conclusion) == ("open", "low")
    assert "no source took up what it was taught" in paragraph(conclusion, ACCURACY)
    mixed = judge(*three()[:2], finished(256, source_delta=-2.0, spearman_raw=0.9))
    assert said(mixed) == ("supported", "moderate")
    assert any(
        "on 1 of 3 seeds the source moved by less" in each for each in reasons(mixed, ACCURACY)
    )
    assert "mean over 2 seeds" in paragraph(mixed, ACCURACY)


def test_a_source_that_hardly_moved_keeps_the_confidence_from_being_high(judge):
    assert said(judge(*three(), *three(source="comedian", source_delta=-2.0))) == (
        "supported",
        "moderate",
    )


def test_neither_a_clash_nor_a_control_is_judged(judge):
    assert judge(finished(clashes=[CLASH])).answer == "open"
    assert judge(finished(variant="non_contrastive")).evidence == ()
    only = judge(finished(), finished(137, variant="shuffled_label"))
    assert only.evidence[0].seeds == 1


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
    assert [each.seeds for each in computed.verdict.evidence] == [1, 2]
    assert computed.verdict.confidence == "low"
    assert "(made#bbbbbbbb)" in paragraph(computed.verdict, ACCURACY)


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
    drawn = {
        "gradient": figures.scatter(cell.personas, "made", outcome),
        "gradient_centred": figures.scatter(cell.personas, "made", outcome, kind="centred"),
        "before_after": figures.before_after(cell.personas, "made", outcome),
        "training": figures.training_curve(cell.curve, "made"),
    }
    drawn["after_training"] = drawn["gradient"]  # its own curve is of no matter to a page
    for name, figure in drawn.items():
        figures.save(figure, folder / name)
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


CHECK = """<script>
const faults = []; addEventListener("error", fault => faults.push(fault.message));
addEventListener("load", () => {
  document.querySelectorAll("details").forEach(part => { part.open = true; });
  const table = document.querySelector("table.personas");
  const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
  const column = heads.indexOf("delta (pp)");
  const value = row => parseFloat(row.cells[column].textContent);
  const read = () => [...table.tBodies[0].rows].map(value);
  const press = () => table.tHead.rows[0].cells[column].querySelector("button").click();
  press(); const up = read(); press(); const down = read();
  const headline = document.getElementById("headline");
  const result = { up, down, faults, wide: document.documentElement.scrollWidth - innerWidth,
    verdict: document.getElementById("verdict").textContent,
    cut: headline.scrollWidth - headline.parentElement.clientWidth,
    pictures: [...document.images].map(image => image.alt),
    broken: [...document.images].filter(image => !image.naturalWidth).length,
    loaded: performance.getEntriesByType("resource").map(entry => entry.name)
      .filter(name => !name.startsWith("data:")).length };
  const note = document.createElement("pre"); note.id = "result";
  note.textContent = JSON.stringify(result); document.body.append(note);
});
</script>"""


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
@pytest.mark.parametrize("width", [1280, 500])
@pytest.mark.parametrize("name", ["one", "seeds", "settings"])
def test_the_page_opens_sorts_and_complains_of_nothing(pages, name, width, tmp_path):
    copy = tmp_path / "report.html"
    page = (pages / name / "report.html").read_text()
    copy.write_text(page.replace("<head>", "<head>" + CHECK, 1))
    done = subprocess.run(
        [
            BROWSER,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
            *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
            *(f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"),
            *("--enable-logging=stderr", "--v=0", "--dump-dom", copy.as_uri()),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    dumped = done.stdout.split('<pre id="result">')[1].split("</pre>")[0]
    seen = json.loads(dumped.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&"))
    assert len(seen["up"]) == 24
    assert all(a <= b for a, b in pairwise(seen["up"]))
    assert all(a >= b for a, b in pairwise(seen["down"]))
    assert seen["verdict"].startswith("That leakage follows the cosine gradient is")
    assert "against cosine" in seen["pictures"][0]  # the figure that shows the answer comes first
    assert seen["wide"] <= 0  # the page itself never scrolls sideways
    assert width < 1000 or seen["cut"] <= 0  # nor does its first table on a wide screen
    assert seen["faults"] == []
    assert seen["broken"] == 0
    assert seen["loaded"] == 0  # self-contained
    assert ":CONSOLE" not in done.stderr


def test_the_key_figure_stands_before_layers_and_heat_map(pages):
    for name in ("one", "seeds"):
        text = (pages / name / "report.html").read_text()
        places = [
            text.index(words)
            for words in ('id="verdict"', "against cosine", "Which layer", "Mean change of every")
        ]
        assert places == sorted(places)


def test_a_cell_brings_tables_that_the_page_has_not_heard_of(pages):
    text = (pages / "one" / "report.html").read_text()
    assert "<h3>Where it goes</h3>" in text
    assert "<td>25.0</td>" in text and "<td>–</td>" in text
    assert "A note of the behaviour." in text
    assert "hidden" not in text


def test_what_was_planted_is_inert(pages):
    page = (pages / "one" / "report.html").read_text()
    assert "<img src=x" not in page and "<b>bold</b>" not in page and "<b>somebody" not in page
    text = (pages / "one" / "report.md").read_text()
    assert "\n- \\<img src=x onerror=alert(1)>: ``a `path` | of <b>somebody</b>``\n" in text
