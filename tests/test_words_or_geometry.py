"""Words against geometry: what is planted is found, and what is not planted rarely is."""

from dataclasses import asdict, replace

import numpy as np
import pandas as pd
import pytest
from scipy.special import expit

from persona_leakage.analysis.words_or_geometry import over_seeds, words_or_geometry
from persona_leakage.data.catalog import SOURCES
from persona_leakage.data.families import shared_stems
from persona_leakage.report.words_geometry_figure import words_geometry
from persona_leakage.study.outcome import Outcome

ACCURACY = Outcome(name="accuracy", low=0, high=1, binary=True, direction=-1, scale=100, unit="pp")


@pytest.fixture(scope="module")
def cast(personas):
    return {n: p for n, p in personas.items() if p.category != "condition"}


@pytest.fixture(scope="module")
def places(cast):
    """A geometry as the catalog means it: decoys far from their source, all else of it near."""
    rng = np.random.default_rng(0)
    middles = {source: rng.normal(size=30) for source in SOURCES}
    rows = []
    for persona in cast.values():
        own = rng.normal(size=30)
        if persona.relation and persona.category != "decoy":
            close = {"near-twin": 0.95, "paraphrase": 0.8, "core": 1.0}.get(persona.category, 0.6)
            own = close * middles[persona.relation] + np.sqrt(1 - close**2) * own
        rows.append(own / np.linalg.norm(own))
    return np.array(rows)


@pytest.fixture(scope="module")
def pairs(cast, places):
    cosine = pd.DataFrame(places @ places.T, list(cast), list(cast))
    long = cosine.rename_axis(index="source", columns="persona").stack().rename("centred")
    return long.reset_index()


def table(cast, delta, source="villain"):
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "persona": list(cast),
            "role": ["source" if name == source else "bystander" for name in cast],
            "before": rng.normal(0.6, 0.01, len(cast)),
            "prompt_length": [len(persona.prompt) for persona in cast.values()],
            "delta": delta,
        }
    )


def planted(cast, pairs, words, geometry, source="villain", seed=2):
    towards = pairs[pairs["source"] == source].set_index("persona")["centred"]
    near = expit(30 * (towards.loc[list(cast)].to_numpy() - 0.55))
    has = np.array([shared_stems(cast[source].prompt, p.prompt) > 0 for p in cast.values()])
    noise = np.random.default_rng(seed).normal(0, 3, len(cast))
    return table(cast, words * has + geometry * near + noise, source)


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(
    ("words", "geometry", "verdict"),
    [(-20, 0, "words"), (0, -20, "geometry"), (-15, -15, "both")],
)
def test_what_was_planted_is_the_verdict(cast, pairs, source, words, geometry, verdict):
    rows = planted(cast, pairs, words, geometry, source)
    result = words_or_geometry(rows, pairs, cast, source, ACCURACY)
    assert result.verdict == verdict, result.reason
    effects = {each.term: each for each in result.effects}
    assert effects["words"].low <= words <= effects["words"].high
    assert effects["words"].placebos == 4
    partial = {each.term: each for each in result.partial}
    if verdict == "words":
        assert partial["words given geometry"].high < 0 < partial["geometry given words"].high
    if verdict == "geometry":
        assert partial["geometry given words"].estimate < partial["words given geometry"].estimate


def test_an_improvement_is_no_leakage(cast, pairs):
    rows = planted(cast, pairs, 20, 20)
    assert words_or_geometry(rows, pairs, cast, "villain", ACCURACY).verdict == "cannot tell"
    rising = ACCURACY.model_copy(update={"direction": 1})
    assert words_or_geometry(rows, pairs, cast, "villain", rising).verdict == "both"


def test_the_cells_say_who_fills_them(cast, pairs):
    result = words_or_geometry(planted(cast, pairs, -20, 0), pairs, cast, "villain", ACCURACY)
    assert sum(cell.personas for cell in result.cells) == len(cast) - 1
    assert [(cell.words, cell.near) for cell in result.cells] == [
        (True, True),
        (True, False),
        (False, True),
        (False, False),
    ]
    near, far = result.cells[:2]
    assert near.cosine > result.threshold > far.cosine
    kinds = {each.kind: each for each in result.kinds}
    assert (kinds["paraphrase"].personas, kinds["decoy"].personas) == (16, 16)
    assert kinds["paraphrase"].near == 16
    assert kinds["decoy"].near == 0
    assert kinds["near-twin"].cosine > kinds["paraphrase"].cosine > kinds["decoy"].cosine


def test_damage_that_is_smooth_over_the_geometry_rarely_gets_a_verdict(cast, pairs, places):
    rng = np.random.default_rng(3)
    found = 0
    for _ in range(12):
        smooth = 6 * places @ rng.normal(size=30)
        rows = table(cast, smooth + rng.normal(0, 1, len(cast)))
        found += words_or_geometry(rows, pairs, cast, "villain", ACCURACY).verdict != "cannot tell"
    assert found <= 3  # one at most expected; the rest is in docs/statistics.md


def test_seeds_that_disagree_widen_the_interval_and_those_that_agree_do_not_narrow_it(cast, pairs):
    same = [
        words_or_geometry(planted(cast, pairs, -20, 0, seed=s), pairs, cast, "villain", ACCURACY)
        for s in (1, 2, 3)
    ]
    apart = [
        words_or_geometry(planted(cast, pairs, w, 0, seed=s), pairs, cast, "villain", ACCURACY)
        for s, w in ((1, -40), (2, -20), (3, 0))
    ]
    one, both, wide = same[0], over_seeds(same, ACCURACY), over_seeds(apart, ACCURACY)
    reach = [each.effects[0].high - each.effects[0].low for each in (one, both, wide)]
    assert both.seeds == wide.seeds == 3
    assert both.verdict == "words"
    assert wide.verdict == "cannot tell"
    assert reach[1] > 0.5 * reach[0]
    assert reach[2] > 3 * reach[1]
    assert over_seeds(same[:1], ACCURACY) == same[0]


def test_without_the_family_nothing_is_told_and_the_reason_is_given(cast, pairs):
    rows = planted(cast, pairs, -20, 0)
    others = {n for n, p in cast.items() if p.category == "decoy" and p.relation == "villain"}
    without = words_or_geometry(
        rows[~rows["persona"].isin(others)], pairs, cast, "villain", ACCURACY
    )
    assert without.verdict == "cannot tell"
    assert "fewer than 3 paraphrases and decoys" in without.reason
    assert without.cells == ()
    assert over_seeds([without, without], ACCURACY) == without
    unknown = words_or_geometry(rows, pairs, cast, "saint", ACCURACY)
    assert unknown.verdict == "cannot tell"


def test_without_other_families_chance_is_not_known(cast, pairs):
    rows = planted(cast, pairs, -20, 0)
    kept = [cast[name].relation in ("villain", None) for name in rows["persona"]]
    result = words_or_geometry(rows[kept], pairs, cast, "villain", ACCURACY)
    assert result.verdict == "cannot tell"
    assert "0 families of other sources" in result.reason
    assert np.isnan(result.effects[0].low)


def test_every_scale_that_was_measured_is_there(cast, pairs):
    rows = planted(cast, pairs, -20, 0)
    more = rows.assign(logit_delta=rows["delta"] / 10, margin_delta=np.nan)
    result = words_or_geometry(more, pairs, cast, "villain", ACCURACY)
    assert [each.scale for each in result.effects] == ["persona"] * 3 + ["question"] * 3
    # on questions it is not there: no verdict
    noise = np.random.default_rng(0).normal(size=len(rows))
    differs = words_or_geometry(rows.assign(logit_delta=noise), pairs, cast, "villain", ACCURACY)
    assert differs.verdict == "cannot tell"


def test_it_is_plain_data(cast, pairs):
    result = words_or_geometry(planted(cast, pairs, -20, 0), pairs, cast, "villain", ACCURACY)
    assert asdict(result)["cells"][0]["words"] is True


def test_the_figure_shows_every_bystander_once_and_the_means(cast, pairs):
    rows = planted(cast, pairs, -20, 0)
    result = words_or_geometry(rows, pairs, cast, "villain", ACCURACY)
    figure = words_geometry(rows, pairs, result, cast, "villain, seed 42", ACCURACY)
    axes = figure.axes[0]
    shown = sum(len(each.get_offsets()) for each in axes.collections if each.get_label()[0] != "_")
    assert shown == len(rows)
    assert axes.get_ylabel() == "change in accuracy (pp)"
    written = [text.get_text() for text in axes.texts]
    for cell in result.cells:
        assert f"{cell.delta:+.1f} ({cell.personas})".replace("-", "\u2212") in written
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert "paraphrase, none of the source's words" in labels
    assert "decoy, the source's words" in labels


def test_the_figure_of_a_source_without_a_family_has_points_and_no_cells(cast, pairs):
    rows = planted(cast, pairs, -20, 0)
    result = words_or_geometry(rows, pairs, cast, "villain", ACCURACY)
    bare = replace(result, cells=(), threshold=float("nan"))
    figure = words_geometry(rows, pairs, bare, cast, "villain", ACCURACY)
    assert "words" not in [text.get_text() for text in figure.axes[0].texts]
