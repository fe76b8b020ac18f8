"""How well a damage is foreseen, judged only on what no fit has seen.

A *method* is a linear fit of the damage on some predictors. It is judged on sources, or on families
of personas, that were left out of its fit, against predicting the mean of the others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import RidgeCV

from persona_leakage.analysis.best_predictor import contenders, simultaneous
from persona_leakage.analysis.ranks import Floats
from persona_leakage.analysis.weighted_ranks import group_weights, rank_correlations
from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.study.cell import JUDGED
from persona_leakage.study.results import FinishedCell

RESAMPLES = 1_999
FEWEST = 20  # errors that an interval is read from
STEPS = 39  # quantiles of how far a new source is off as a whole
COVERAGE = 0.9  # of an interval for a new persona
PENALTIES = np.logspace(0, 4, 9)
LeftOut = Literal["source", "family"]
KEYS = ("source", "persona", "family", "cluster", "delta")


@dataclass(frozen=True)
class Method:
    """What a damage is predicted from.

    Attributes
    ----------
    name : str
        As people read it.
    columns : tuple of str
        Of the frame of predictors; none predicts the mean.
    one : bool
        Whether the fit takes that one of the columns which fits best where it is fitted, such as
        a layer, instead of all of them.
    whole : bool
        Whether it is a kind of predictors, or all of them, rather than one of many.
    """

    name: str
    columns: tuple[str, ...]
    one: bool = False
    whole: bool = False


MEAN = Method("mean", ())
WORDS = "words"
# what the command ``predict`` takes: the rest costs minutes, and nothing is foreseen better with it
AHEAD = "words, prior, geometry"
EVERYTHING = "words, prior, geometry, next token, gradient"
GEOMETRY = ("raw", "centred", "distance")
MEASURES = (*GEOMETRY, "whitened", "kl")
NEXT_TOKEN = ("js", "symmetric_kl")
GRADIENT = ("gradient", "gradient_cosine", "set_gradient", "set_gradient_cosine")
PRIOR = ("margin", "prompt_words")


def methods(words: Sequence[str], layers: Sequence[int], layer: int) -> list[Method]:
    """Name what is compared: kinds of predictors, everything, and every predictor alone.

    The prior, the persona's baseline and the length of its prompt, is in every kind that is
    compared with another: words and geometry are told apart given it.

    Parameters
    ----------
    words : sequence of str
        Columns of the lexical predictors.
    layers : sequence of int
        At which the geometry was measured.
    layer : int
        The study's own, which was fixed before any damage was seen.
    """
    here = tuple(f"{kind}@{layer}" for kind in GEOMETRY)
    kinds = {
        WORDS: tuple(words),
        "prior": PRIOR,
        "words, prior": (*words, *PRIOR),
        "geometry, prior": (*here, *PRIOR),
        "next token, prior": (*NEXT_TOKEN, *PRIOR),
        "gradient, prior": (*GRADIENT, *PRIOR),
        AHEAD: (*words, *PRIOR, *here),
        EVERYTHING: (*words, *PRIOR, *here, *NEXT_TOKEN, *GRADIENT),
    }
    alone = [f"{kind}@{layer}" for kind in MEASURES]
    return [
        *(Method(name, columns, whole=True) for name, columns in kinds.items()),
        *(Method(name, (name,)) for name in (*alone, *NEXT_TOKEN, *GRADIENT, *PRIOR)),
        *(
            Method(f"{kind}, layer by the fit", tuple(f"{kind}@{n}" for n in layers), one=True)
            for kind in MEASURES
        ),
    ]


def observed(
    cells: Sequence[FinishedCell], personas: Mapping[str, Persona], change: str = "delta"
) -> pd.DataFrame:
    """Tabulate what the finished judged cells did to each bystander, mean over the seeds.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Of one study; those of other variants are left out.
    personas : mapping
        Records of those evaluated, by name.
    change : str
        The column of the cells' persona tables that is to be foreseen.

    Returns
    -------
    DataFrame
        ``KEYS``, the change as ``delta``, a row per source and persona that was a bystander under
        some seed. ``family`` is the source that a persona was written around, else its category;
        ``cluster`` is family and category.
    """
    tables = [
        each.personas.assign(source=each.result.source)
        for each in cells
        if each.result.variant in JUDGED
    ]
    if not tables:
        return pd.DataFrame(columns=list(KEYS))
    rows = pd.concat(tables)
    rows = rows[rows["role"] == "bystander"]
    means = rows.groupby(["source", "persona"], sort=False)[change].mean().reset_index()
    means = means.rename(columns={change: "delta"})
    known = [personas[name] for name in means["persona"]]
    families = [each.relation or each.category for each in known]
    clusters = [f"{each.relation or ''} {each.category}".strip() for each in known]
    return means.assign(family=families, cluster=clusters)[list(KEYS)]


def standardised(
    frame: pd.DataFrame, columns: Sequence[str], among: pd.Series | None = None
) -> pd.DataFrame:
    """Bring predictors to mean 0 and standard deviation 1 over the personas of each source.

    No outcome is used, so nothing is known of a source before its training that was not. A
    predictor that is the same for all personas of a source becomes 0 there.

    Parameters
    ----------
    frame : DataFrame
        With ``source`` and the columns.
    columns : sequence of str
        What is brought to one scale.
    among : Series of bool or None
        The rows whose mean and deviation are taken; all of them where it is not given.

    Raises
    ------
    InputError
        A predictor is not a number for some persona.
    """
    names = list(columns)
    for name in names:
        lacking = frame.index[~np.isfinite(frame[name].to_numpy(dtype=float))]
        if len(lacking):
            row = frame.loc[lacking[0]]
            raise InputError(
                f"predictors: {name} is not a number for {row['persona']} and the source "
                f"{row['source']}; run `dvc repro predictors`"
            )
    rows = frame if among is None else frame[among]
    groups = rows.groupby("source", sort=False)[names]
    mean, spread = (each.reindex(frame["source"]) for each in (groups.mean(), groups.std(ddof=0)))
    moved = (frame[names] - mean.to_numpy()).where(spread.to_numpy() > 0, 0.0)
    scaled = moved.div(spread.where(spread > 0, 1.0).to_numpy())
    return frame.assign(**{name: scaled[name] for name in names})


def held_out(frame: pd.DataFrame, methods: Sequence[Method], left_out: LeftOut) -> pd.DataFrame:
    """Predict every row by a fit that has not seen its source, or its persona's family.

    Parameters
    ----------
    frame : DataFrame
        One row per source and persona: ``KEYS`` and the methods' columns. ``delta`` is in the
        outcome's unit.
    methods : sequence of Method
        What to fit.
    left_out : {"source", "family"}
        What is left out at a time.

    Returns
    -------
    DataFrame
        As many rows, a column per method and first ``mean``: the mean of the rows that were fitted.

    Raises
    ------
    InputError
        There is one source, or family, alone: nothing is left to fit.
    """
    groups = frame[left_out].unique()
    if len(groups) < 2:
        raise InputError(
            f"prediction: the finished cells have one {left_out} alone, and leaving it out leaves "
            "nothing to fit; finish cells of another"
        )
    every = [MEAN, *methods]
    scaled = standardised(frame, sorted({name for each in every for name in each.columns}))
    predictions = pd.DataFrame(index=frame.index, columns=[m.name for m in every], dtype=float)
    for group in groups:
        out = (frame[left_out] == group).to_numpy()
        for method in every:
            predictions.loc[out, method.name] = _predict(method, scaled[~out], scaled[out])
    return predictions


def predict(frame: pd.DataFrame, method: Method, wanted: pd.DataFrame, among: pd.Series) -> Floats:
    """Predict rows that have no outcome, by a fit of all that have one.

    Parameters
    ----------
    frame : DataFrame
        As for ``held_out``.
    method : Method
        What to fit.
    wanted : DataFrame
        ``source``, ``persona`` and the method's columns.
    among : Series of bool
        Which of these rows are personas as those fitted: predictors are on their scale.

    Returns
    -------
    ndarray of shape (rows of wanted,)
        In the outcome's unit.
    """
    seen = standardised(frame, method.columns)
    return _predict(method, seen, standardised(wanted, method.columns, among))


def _predict(method: Method, seen: pd.DataFrame, unseen: pd.DataFrame) -> Floats:
    """Fit on standardised rows and predict others."""
    y = seen["delta"].to_numpy(dtype=float)
    x, new = (rows[list(method.columns)].to_numpy(dtype=float) for rows in (seen, unseen))
    if not method.columns:
        return np.full(len(unseen), y.mean())
    if method.one:
        fits = [_line(column, y) for column in x.T]
        errors = [
            ((y - a - b * column) ** 2).sum() for (a, b), column in zip(fits, x.T, strict=True)
        ]
        best = int(np.argmin(errors))
        x, new = x[:, [best]], new[:, [best]]
    if x.shape[1] == 1:
        level, slope = _line(x[:, 0], y)
        return level + slope * new[:, 0]
    fitted: Floats = RidgeCV(alphas=PENALTIES).fit(x, y).predict(new)
    return fitted


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    away = x - x.mean()
    spread = float(away @ away)
    slope = float(away @ y) / spread if spread else 0.0
    return float(y.mean() - slope * x.mean()), slope


def judge(
    frame: pd.DataFrame, predictions: pd.DataFrame, reference: str, *, seed: int
) -> pd.DataFrame:
    """Say how well each method foresees, with intervals.

    ``r2`` is one minus the squared errors over those of predicting the mean of the rows that were
    fitted (Campbell and Thompson 2008, "Predicting excess stock returns out of sample"): 0 is no
    better than that mean, and a negative one is worse. ``rho`` is the mean over the sources of
    Spearman's between predicted and observed; a predictor that says nothing has one somewhat below
    0, since the part left out has the other way what the rest has by chance.

    Intervals are 95 % for all methods at once (``best_predictor.simultaneous``), of a bootstrap
    over sources and clusters of personas, both resampled (the pigeonhole bootstrap: Owen 2007);
    over clusters alone where there is one source.

    Parameters
    ----------
    frame : DataFrame
        As for ``held_out``; ``cluster`` says which personas were written alike.
    predictions : DataFrame
        Of ``held_out``.
    reference : str
        The method that the others are compared with, such as words alone.
    seed : int
        Of the bootstrap.

    Returns
    -------
    DataFrame
        A row per method but ``mean``, the best first: ``method``; ``r2``, ``rho``, ``gain`` (r2
        minus the reference's), each with ``_low`` and ``_high``; ``contender``, whether its rho is
        not told from the highest one (``best_predictor.contenders``).
    """
    sources, times, weights = _resampled(frame, seed)
    y = frame["delta"].to_numpy(dtype=float)
    names = [str(name) for name in predictions if name != MEAN.name]
    errors = (predictions.to_numpy(dtype=float) - y[:, None]) ** 2
    totals = pd.DataFrame((times[:, sources] * weights) @ errors, columns=predictions.columns)
    r2 = 1 - totals[names].div(totals[MEAN.name], axis=0)
    drawn = {
        "r2": r2.to_numpy(),
        "rho": _mean_rho(predictions[names].to_numpy(dtype=float), y, sources, times, weights),
        "gain": r2.sub(r2[reference], axis=0).to_numpy(),
    }
    judged = pd.DataFrame({"method": names})
    for key, values in drawn.items():
        values = np.where(np.isfinite(values), values, np.nan)
        low, high = simultaneous(values[1:])
        judged = judged.assign(**{key: values[0], f"{key}_low": low, f"{key}_high": high})
    judged["contender"] = contenders(drawn["rho"])
    return judged.sort_values("r2", ascending=False, ignore_index=True)


def by_source(frame: pd.DataFrame, predictions: pd.DataFrame, method: str) -> pd.DataFrame:
    """Say how well one method foresees the damage of each source.

    Parameters
    ----------
    frame : DataFrame
        As for ``held_out``.
    predictions : DataFrame
        Of ``held_out``.
    method : str
        Its name.

    Returns
    -------
    DataFrame
        ``source``, ``personas``, ``r2`` and ``rho`` as in ``judge``, ``error`` (root mean square,
        in the outcome's unit), ``covered`` (share, of ``covered``; not a number for one source of
        two, since the other alone does not say how sources differ).
    """
    rows = []
    several = frame["source"].nunique() > 2
    inside = covered(frame, predictions[method]) if several else pd.Series(np.nan, frame.index)
    for source, index in frame.groupby("source", sort=False).groups.items():
        y = frame.loc[index, "delta"].to_numpy(dtype=float)
        guess, mean = (predictions.loc[index, n].to_numpy(dtype=float) for n in (method, MEAN.name))
        squares = ((guess - y) ** 2).sum()
        rho = rank_correlations(guess[:, None], y, np.ones((1, len(y))))[0, 0]
        rows.append(
            {
                "source": source,
                "personas": len(y),
                "r2": float(1 - squares / ((mean - y) ** 2).sum()),
                "rho": float(rho),
                "error": float(np.sqrt(squares / len(y))),
                "covered": float(inside[index].mean()),
            }
        )
    return pd.DataFrame(rows)


def limits(
    frame: pd.DataFrame,
    prediction: pd.Series,
    left_out: LeftOut,
    predicted: pd.Series,
    among: pd.Series,
    coverage: float = COVERAGE,
) -> pd.DataFrame:
    """Put an interval around new predictions of one source, by the errors of what was left out.

    What is to come is off for two reasons. *Its source*, or family, is off as a whole: by the mean
    of the errors' means, within Student's t of a new one beside so many. *Its persona* is off
    within that: errors are small where nothing happens and large where much does, so of what was
    left out those rows count that stand at the nearest place in their source's order of
    predictions, a tenth of all and at least ``FEWEST`` (conformal prediction, local: Lei and
    Wasserman 2014, "Distribution-free prediction bands"). The interval is that of the sum. Without
    the first part it would cover as far as a new source errs like those left out, and with few of
    them it does not (Dunn, Wasserman and Ramdas 2022, "Distribution-free prediction sets for
    two-layer hierarchical models").

    Parameters
    ----------
    frame : DataFrame
        As for ``held_out``.
    prediction : Series
        A column of ``held_out``.
    left_out : {"source", "family"}
        What that left out.
    predicted : Series
        The new rows, of one source.
    among : Series of bool
        As for ``predict``: a place is one in their order.
    coverage : float
        Share of new outcomes that the intervals shall hold.

    Returns
    -------
    DataFrame
        ``low`` and ``high``, in the outcome's unit, in the order of the new rows.
    """
    errors = frame["delta"] - prediction
    groups = errors.groupby(frame[left_out])
    within = (errors - groups.transform("mean")).to_numpy(dtype=float)
    places = prediction.groupby(frame["source"]).rank(pct=True).to_numpy()
    order = np.sort(predicted[among].to_numpy(dtype=float))
    wanted = np.searchsorted(order, predicted.to_numpy(dtype=float), side="right") / len(order)
    count = min(len(within), max(FEWEST, len(within) // 10))
    near = np.argsort(np.abs(places - wanted[:, None]), axis=1, kind="stable")[:, :count]
    sums = (within[near][:, :, None] + _shifts(groups.mean())).reshape(len(wanted), -1)
    # the outcome to come is one more: the quantiles lie a little further out
    tail = max(0.0, (1 - coverage) / 2 * (count + 1) - 1) / max(1, count - 1)
    low, high = np.quantile(sums, [tail, 1 - tail], axis=1)
    return pd.DataFrame({"low": predicted + low, "high": predicted + high}, index=predicted.index)


def _shifts(means: pd.Series) -> Floats:
    """By how much a new group may be off as a whole: quantiles at equal steps."""
    if len(means) < 2:
        return means.to_numpy(dtype=float)
    steps = (np.arange(STEPS) + 0.5) / STEPS
    reach = float(means.std(ddof=1)) * np.sqrt(1 + 1 / len(means))
    shifts: Floats = means.mean() + reach * stats.t.ppf(steps, len(means) - 1)
    return shifts


def covered(frame: pd.DataFrame, prediction: pd.Series, coverage: float = COVERAGE) -> pd.Series:
    """Say of each outcome whether the errors of the *other* sources would have covered it.

    Parameters
    ----------
    frame : DataFrame
        As for ``held_out``.
    prediction : Series
        A column of ``held_out`` with sources left out.
    coverage : float
        As for ``limits``.

    Returns
    -------
    Series of bool
        In the order of the frame.
    """
    inside = pd.Series(False, index=frame.index)
    for source in frame["source"].unique():
        mine = frame["source"] == source
        guesses = prediction[mine]
        everyone = pd.Series(True, index=guesses.index)
        band = limits(frame[~mine], prediction[~mine], "source", guesses, everyone, coverage)
        inside[mine] = frame.loc[mine, "delta"].between(band["low"], band["high"])
    return inside


def _resampled(frame: pd.DataFrame, seed: int) -> tuple[np.ndarray, Floats, Floats]:
    """How often each source and each row stands in a sample; the first sample is what was seen.

    Returns the source of each row by number, (samples, sources) and (samples, rows).
    """
    rng = np.random.default_rng(seed)
    sources, names = pd.factorize(frame["source"])
    times = np.ones((1 + RESAMPLES, len(names)))
    if len(names) > 1:
        share = np.full(len(names), 1 / len(names))
        times[1:] = rng.multinomial(len(names), share, size=RESAMPLES)
    return sources, times, group_weights(frame["cluster"], RESAMPLES, rng)


def _mean_rho(
    guesses: Floats, y: Floats, sources: np.ndarray, times: Floats, weights: Floats
) -> Floats:
    """Mean of each method over the sources of each sample, as often as it has them.

    Of guesses (rows, methods): (samples, methods).
    """
    total = np.zeros((len(weights), guesses.shape[1]))
    count = np.zeros_like(total)
    for source in range(times.shape[1]):
        mine = sources == source
        rho = rank_correlations(guesses[mine], y[mine], weights[:, mine])
        often = np.where(np.isfinite(rho), times[:, [source]], 0.0)
        total += np.where(often > 0, rho, 0.0) * often
        count += often
    with np.errstate(invalid="ignore", divide="ignore"):
        mean: Floats = total / count
    return mean
