import pandas as pd
import pytest
from conftest import ROOT
from scipy import stats

from persona_leakage.report.published import analyse


@pytest.fixture(scope="module")
def published():
    names = ("headline", "villain_gradient", "outliers")
    return analyse(*(pd.read_csv(ROOT / "reference" / f"{name}.csv") for name in names))


def test_the_published_deltas_follow_from_the_published_accuracies(published):
    assert published.headline["agrees"].all()
    assert published.headline["recomputed_delta"].round(1).tolist() == pytest.approx(
        published.headline["source_delta_pp"].tolist(), abs=0.11
    )


def test_a_wrong_delta_would_be_noticed():
    tables = [
        pd.read_csv(ROOT / "reference" / f"{name}.csv")
        for name in ("headline", "villain_gradient", "outliers")
    ]
    tables[0].loc[0, "source_delta_pp"] = -80.0
    analysed = analyse(*tables)
    assert not analysed.headline.loc[0, "agrees"]
    assert any(
        "villain: the accuracies give a delta of -84.7" in c for c in analysed.contradictions
    )


def test_it_gets_what_the_tables_lacked(published):
    gradient = published.gradient
    assert (
        (gradient["low"] < gradient["post_accuracy"])
        & (gradient["post_accuracy"] < gradient["high"])
    ).all()
    others = gradient[gradient["persona"] != "villain"]
    expected = stats.spearmanr(others["cosine_to_source"], others["post_accuracy"])
    assert published.spearman.r == pytest.approx(expected.statistic)
    assert published.spearman.p < 0.01
    assert "a logistic curve does not hold" in published.boundary.reason


@pytest.mark.parametrize(
    "claim",
    [
        "the table keeps assistant at 81.9 %",
        "software_engineer has a mean bystander delta of -17.3 pp",
        "nice_villain (cosine 0.87) was at 4.6 %",
        "misanthrope (cosine 0.90) was at 17.4 %",
        "80.7 M",
    ],
)
def test_the_contradictions_are_named(published, claim):
    assert any(claim in line for line in published.contradictions)
    assert len(published.contradictions) == 5
