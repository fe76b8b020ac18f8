"""The leakage boundary: a logistic curve of accuracy over cosine, and who does not follow it."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import stats
from scipy.optimize import least_squares
from scipy.special import expit

RESAMPLES = 2_000
SPAN = 2 * math.log(9)  # a logistic curve goes from 90 % to 10 % over this many of its scales
FEWEST = 8  # personas: two for each of the four parameters
ODD = 3.0  # robust standard deviations from which a residual is called an outlier
PARAMETERS = ("midpoint", "width", "floor", "ceiling")


@dataclass(frozen=True)
class Boundary:
    """A fitted boundary, or the reason why there is none.

    Attributes
    ----------
    midpoint : float
        Cosine at which accuracy is half-way from ceiling to floor.
    width : float
        Cosine over which it goes through the middle 80 % of that way.
    floor, ceiling : float
        Accuracies far on the near side and far on the far side of the source, fractions.
    low, high : dict of float
        95 % bootstrap interval over personas of each parameter.
    p : float
        Permutation p-value of the curve against a constant, one-sided: accuracy falls.
    grid, lower, upper : list of float
        Cosines, and the 95 % band of the curve over them.
    personas : int
        How many it was fitted to.
    reason : str or None
        Why no boundary can be fitted; the parameters are then not to be used. There is a curve all
        the same when accuracy falls with cosine and only the place of its middle is unknown.
    """

    midpoint: float
    width: float
    floor: float
    ceiling: float
    low: dict[str, float]
    high: dict[str, float]
    p: float
    grid: list[float]
    lower: list[float]
    upper: list[float]
    personas: int
    reason: str | None

    @property
    def has_curve(self) -> bool:
        """Whether accuracy falls with cosine at all."""
        return bool(self.grid)

    def accuracy(self, cosine: np.ndarray) -> np.ndarray:
        """The curve at these cosines: fractions, of the same shape."""
        return _curve(cosine, self.midpoint, self.width, self.floor, self.ceiling)


def _curve(
    cosine: np.ndarray, midpoint: float, width: float, floor: float, ceiling: float
) -> np.ndarray:
    near = expit((midpoint - np.asarray(cosine, dtype=float)) * SPAN / width)
    return floor + (ceiling - floor) * near


def no_boundary(reason: str, personas: int, p: float = float("nan")) -> Boundary:
    """A boundary that could not be fitted."""
    nan = float("nan")
    return Boundary(nan, nan, nan, nan, {}, {}, p, [], [], [], personas, reason)


def fit(
    cosine: np.ndarray, accuracy: np.ndarray, *, seed: int, resamples: int = RESAMPLES
) -> Boundary:
    """Fit ``floor + (ceiling - floor) / (1 + exp(2 ln 9 (cosine - midpoint) / width))``.

    Least squares over personas (each was asked as many questions), 0 <= floor <= ceiling <= 1, the
    midpoint within the observed cosines. Midpoint and width are searched on a grid, where floor and
    ceiling follow in closed form, and polished with SciPy's ``least_squares``; intervals are
    expanded percentile bootstrap over personas on the same grid.

    Parameters
    ----------
    cosine, accuracy : ndarray of shape (personas,)
        Accuracies are fractions.
    seed : int
        Of the bootstrap and of the permutations.

    Returns
    -------
    Boundary
        With ``reason`` when there are too few personas, when accuracy does not fall with cosine
        more than chance would have it (p >= 0.05), or when its middle is at the end of the range.
    """
    x, y = np.asarray(cosine, dtype=float), np.asarray(accuracy, dtype=float)
    if len(x) < FEWEST:
        return no_boundary(f"{len(x)} personas are fewer than the {FEWEST} it takes", len(x))
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return no_boundary("all personas have the same cosine or the same accuracy", len(x))
    rng = np.random.default_rng(seed)
    _, near = _shapes(x, 31, 12)  # coarse: the test needs the error alone
    error, _ = _best(near, y[None], np.ones((1, len(x))))
    permuted = rng.permuted(np.broadcast_to(y, (resamples, len(y))), axis=1)
    errors, _ = _best(near, permuted, np.ones_like(permuted))
    p = float((1 + (errors <= error + 1e-12).sum()) / (1 + resamples))
    if p >= 0.05:
        return no_boundary(
            f"a curve that falls with the cosine fits no better than a constant (p {p:.2g})",
            len(x),
            p,
        )
    # fine: the step between midpoints must be small against their interval
    shapes, near = _shapes(x, 201, 16)
    _, found = _best(near, y[None], np.ones((1, len(x))))
    start = np.array([*shapes[found[0][0]], *found[1][0]])
    midpoint, width, floor, ceiling = _polish(x, y, start, shapes)
    reason = None
    edge = 0.01 * np.ptp(x)
    if not x.min() + edge < midpoint < x.max() - edge:
        side = "nearest" if midpoint > x.mean() else "farthest"
        reason = f"the middle of the fall lies beyond the {side} persona asked"
    weights = rng.multinomial(len(x), np.full(len(x), 1 / len(x)), size=resamples).astype(float)
    _, (which, ends) = _best(near, np.broadcast_to(y, weights.shape), weights)
    drawn = np.column_stack([shapes[which], ends])
    tails = _expanded_tails(len(x))
    low, high = np.percentile(drawn, tails, axis=0)
    grid = np.linspace(x.min(), x.max(), 101)
    curves = drawn[:, 2:3] + (drawn[:, 3:4] - drawn[:, 2:3]) * expit(
        (drawn[:, :1] - grid) * SPAN / drawn[:, 1:2]
    )
    lower, upper = np.percentile(curves, tails, axis=0)
    return Boundary(
        midpoint,
        width,
        floor,
        ceiling,
        dict(zip(PARAMETERS, low.tolist(), strict=True)),
        dict(zip(PARAMETERS, high.tolist(), strict=True)),
        p,
        grid.tolist(),
        lower.tolist(),
        upper.tolist(),
        len(x),
        reason,
    )


def _expanded_tails(personas: int) -> list[float]:
    """Percentiles for a 95 % interval from few personas: wider than 2.5 and 97.5.

    The bootstrap knows nothing of the four parameters' degrees of freedom; the expanded percentile
    interval (Hesterberg 2015, section 5.4) takes the tails from Student's t.
    """
    freedom = personas - len(PARAMETERS)
    tail = 100 * stats.norm.sf(math.sqrt(personas / freedom) * stats.t.isf(0.025, freedom))
    return [tail, 100 - tail]


def _shapes(x: np.ndarray, midpoints: int, widths: int) -> tuple[np.ndarray, np.ndarray]:
    """Midpoints and widths to try: (shapes, 2), and how near each makes x: (shapes, personas)."""
    shapes = np.array(
        [
            (midpoint, width)
            for midpoint in np.linspace(x.min(), x.max(), midpoints)
            for width in np.ptp(x) * np.geomspace(0.02, 4.0, widths)
        ]
    )
    return shapes, expit((shapes[:, :1] - x) * SPAN / shapes[:, 1:])


def _best(
    near: np.ndarray, y: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, tuple[np.ndarray, np.ndarray]]:
    """Least squares of ``y = floor + (ceiling - floor) near`` for each row of ``y``, best shape.

    The optimum is inside the feasible triangle 0 <= floor <= ceiling <= 1 or on one of its edges,
    each of which has a closed form.

    Returns the squared errors (rows,), and of the best: shape (rows,), floor and ceiling (rows, 2).
    """
    errors, which, ends = [], [], []
    for start in range(0, len(y), 100):  # bounds the memory
        w, rows = weights[start : start + 100], y[start : start + 100]
        s1 = w.sum(axis=1, keepdims=True)
        sy, syy = (w * rows).sum(axis=1, keepdims=True), (w * rows**2).sum(axis=1, keepdims=True)
        sg, sgg, sgy = w @ near.T, w @ (near**2).T, (w * rows) @ near.T
        with np.errstate(invalid="ignore", divide="ignore"):
            rise = (s1 * sgy - sg * sy) / (s1 * sgg - sg**2)
            inside = (sy - rise * sg) / s1
            # on the edges: floor 0; ceiling 1; flat
            from_zero = np.clip(sgy / sgg, 0, 1)
            to_one = np.clip(((sgg - sg) - (sgy - sy)) / (sgg - 2 * sg + s1), 0, 1)
            flat = np.broadcast_to(sy / s1, rise.shape)
            feasible = (inside >= 0) & (rise >= 0) & (inside + rise <= 1)
        candidates = [
            (inside, rise, feasible),
            (np.zeros_like(rise), from_zero, np.isfinite(from_zero)),
            (1 - to_one, to_one, np.isfinite(to_one)),
            (flat, np.zeros_like(rise), np.ones_like(feasible)),
        ]
        with np.errstate(invalid="ignore"):
            losses = np.stack(
                [
                    np.where(
                        allowed,
                        syy + a**2 * s1 + b**2 * sgg - 2 * a * sy - 2 * b * sgy + 2 * a * b * sg,
                        np.inf,
                    )
                    for a, b, allowed in candidates
                ]
            )
        kind, shape = np.divmod(
            losses.transpose(1, 0, 2).reshape(len(rows), -1).argmin(axis=1), losses.shape[2]
        )
        each = np.arange(len(rows))
        errors.append(losses[kind, each, shape])
        which.append(shape)
        floors = np.stack([a for a, _, _ in candidates])[kind, each, shape]
        rises = np.stack([b for _, b, _ in candidates])[kind, each, shape]
        ends.append(np.column_stack([floors, floors + rises]))
    return np.concatenate(errors), (np.concatenate(which), np.concatenate(ends))


def _polish(x: np.ndarray, y: np.ndarray, start: np.ndarray, shapes: np.ndarray) -> list[float]:
    lower = [shapes[:, 0].min(), shapes[:, 1].min(), 0.0, 0.0]
    upper = [shapes[:, 0].max(), shapes[:, 1].max(), 1.0, 1.0]
    solved = least_squares(
        lambda values: _curve(x, *values) - y, np.clip(start, lower, upper), bounds=(lower, upper)
    )
    before = ((_curve(x, *start) - y) ** 2).sum()
    kept = solved.x if 2 * solved.cost <= before and solved.x[2] <= solved.x[3] else start
    return [float(value) for value in kept]


def outliers(table: pd.DataFrame, boundary: Boundary) -> pd.DataFrame:
    """Personas that the curve does not explain, farthest first.

    A residual is an outlier when it lies more than three robust standard deviations (1.4826 times
    the median absolute deviation; Huber & Ronchetti 2009, section 5.1) from the median residual.

    Parameters
    ----------
    table : DataFrame
        Bystanders of ``statistics.persona_table``.

    Returns
    -------
    DataFrame
        ``persona``, ``category``, ``raw``, ``after``, ``expected`` (fractions), ``residual``
        (percentage points), ``z`` (robust), ``sharing`` (outliers of the same category). Empty
        when there is no curve.
    """
    columns = ["persona", "category", "raw", "after", "expected", "residual", "z", "sharing"]
    if not boundary.has_curve or table.empty:
        return pd.DataFrame(columns=columns)
    expected = boundary.accuracy(table["raw"].to_numpy())
    residual = 100 * (table["after"].to_numpy() - expected)
    centre = np.median(residual)
    spread = 1.4826 * np.median(np.abs(residual - centre))
    if spread == 0:
        return pd.DataFrame(columns=columns)
    rated = table[["persona", "category", "raw", "after"]].assign(
        expected=expected, residual=residual, z=(residual - centre) / spread
    )
    odd = rated[rated["z"].abs() > ODD].copy()
    odd["sharing"] = odd.groupby("category")["persona"].transform("size").astype(int)
    order = odd["z"].abs().sort_values(ascending=False).index
    return odd.loc[order, columns].reset_index(drop=True)
