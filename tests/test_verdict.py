"""What the rules are applied to: seeds whose source moved, and no others."""

from types import SimpleNamespace

import pandas as pd
import pytest
from made import ACCURACY, AGREEMENT, NAN

from persona_leakage.report.verdict import SourceNumbers, Span, least_move, verdict
from persona_leakage.study.outcome import Outcome


def headline(*seeds):
    """One row a seed: what is given, else numbers that support the gradient."""
    kinds = ("spearman_raw", "spearman_centred", "partial_raw")
    rows = [
        {
            "seed": place,
            "source_delta": -40.0,
            "unrelated_delta": 1.0,
            "bystanders": 21,
            **dict.fromkeys(kinds, -0.7),
            **{f"{kind}_p": 0.001 for kind in kinds},
            **numbers,
        }
        for place, numbers in enumerate(seeds)
    ]
    return pd.DataFrame(rows)


def predictors(*rows):
    columns = ["seed", "predictor", "rho", "difference_low", "difference_high"]
    return pd.DataFrame(rows, columns=columns)


def fitted(midpoint):
    return SimpleNamespace(midpoint=midpoint, reason=None)


def unfitted(reason):
    return SimpleNamespace(midpoint=0.5, reason=reason)


def evidence(rows, boundaries=None, words=None, outcome=ACCURACY):
    words = predictors() if words is None else words
    boundaries = boundaries or [fitted(0.9)] * len(rows)
    numbers = SourceNumbers("villain", "made", rows, words, boundaries, None)
    return verdict([numbers], outcome).evidence[0]


STILL = {"source_delta": -2.0, "unrelated_delta": 9.0, "spearman_raw": -0.9, "spearman_raw_p": 0.5}


def test_the_evidence_is_over_the_seeds_whose_source_moved():
    rows = headline({"source_delta": -50.0, "unrelated_delta": -1.0}, STILL, {"spearman_raw": -0.6})
    seen = evidence(rows)
    assert (seen.seeds, seen.moved, seen.supporting, seen.bystanders) == (3, 2, 2, 21)
    assert (seen.source_change, seen.unrelated_change) == (-45, 0)
    assert (seen.rho, seen.p) == (Span(-0.7, -0.6), 0.001)


def test_where_no_source_moved_all_seeds_are_told_and_none_supports():
    seen = evidence(headline(STILL | {"spearman_raw_p": 0.001}, STILL))
    assert (seen.seeds, seen.moved, seen.supporting) == (2, 0, 0)
    assert (seen.source_change, seen.unrelated_change) == (-2, 9)


def test_boundaries_are_those_of_the_seeds_that_count_whatever_the_rows_are_called():
    rows = headline({}, STILL, {}, {}).set_index(pd.Index([7, 7, 3, 1]))
    boundaries = [fitted(0.94), fitted(0.1), unfitted("too few"), unfitted("too few")]
    seen = evidence(rows, boundaries)
    assert (seen.midpoint, seen.fitted, seen.unfitted) == (Span(0.94, 0.94), 1, ("too few",))
    alone = evidence(headline({}), [unfitted("flat")])
    assert (alone.midpoint, alone.fitted, alone.unfitted) == (None, 0, ("flat",))


@pytest.mark.parametrize("name", ["words", "tfidf"])
def test_each_kind_of_words_is_a_rival_on_the_seeds_where_it_can_be_computed(name):
    words = predictors(
        (0, name, -0.6, 0.01, 0.5),
        (1, name, -0.1, -0.1, 0.5),  # the source hardly moved
        (2, name, NAN, NAN, NAN),
        (3, name, -0.3, 0.02, 0.5),
        (0, "raw@15", -0.7, 0.0, 0.0),
    )
    seen = evidence(headline({}, STILL, {}, {}), words=words)
    assert list(seen.rivals) == [name]
    rival = seen.rivals[name]
    assert (rival.rho, rival.seeds, rival.worse) == (Span(-0.6, -0.3), 2, 2)
    assert seen.robust
    even = words.assign(difference_low=[0.01, 0.01, NAN, -0.1, 0.0])
    half = evidence(headline({}, STILL, {}, {}), words=even)
    assert (half.rivals[name].worse, half.robust) == (1, False)


def test_no_correlation_at_all_is_not_held_in_either_direction():
    for outcome, sign in ((ACCURACY, 1), (AGREEMENT, -1)):
        rows = headline({"source_delta": -40 * sign, "spearman_raw": -0.7 * sign})
        rows[["spearman_centred", "partial_raw"]] = 0.0
        seen = evidence(rows, outcome=outcome)
        assert seen.moved == 1
        assert (seen.centred.seeds, seen.partial.seeds) == (0, 0)


def test_the_least_move_is_a_tenth_of_the_range_wherever_it_begins():
    rating = Outcome(
        name="rating", low=1, high=5, binary=False, direction=1, scale=10, unit="tenths"
    )
    assert least_move(rating) == pytest.approx(4)
