"""All that a source's cells say for and against leakage, in one record."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from persona_leakage.analysis import two_way
from persona_leakage.analysis.checks import refuse_unknown
from persona_leakage.analysis.clustered import wild_cluster_p
from persona_leakage.analysis.equivalence import Size, size_of
from persona_leakage.analysis.estimate import Estimate
from persona_leakage.analysis.pseudo_source import pseudo_source
from persona_leakage.analysis.ranks import Floats, rank_correlation
from persona_leakage.analysis.settle import Needed, components, needed
from persona_leakage.analysis.shape import FAMILY, OUTSIDE, Shape, shape_of
from persona_leakage.data.catalog import Persona
from persona_leakage.data.relations import clusters_of, family_of
from persona_leakage.errors import InputError
from persona_leakage.study.outcome import Outcome

BOTH = (FAMILY, OUTSIDE)
GEOMETRY = "run `dvc repro geometry`"
Kind = Literal["raw", "centred"]
KINDS: tuple[Kind, ...] = ("raw", "centred")  # of cosines; the first carries the verdict


@dataclass(frozen=True)
class Evidence:
    """What the cells of one source say; changes are in the outcome's unit, say percentage points.

    Rho is Spearman's correlation of similarity to the source with change, over bystanders: below
    zero where nearer personas are damaged more and what is taught lowers the outcome. The
    *family* are the bystanders that were written around the source, *outside* are all others.
    Intervals are 95 % and of a two-way bootstrap over personas and questions, unless said.

    Attributes
    ----------
    source : str
        Whose.
    seeds, questions : int
        Averaged over, and asked in each.
    family, outside : int
        Bystanders.
    by_similarity : bool
        Whether it was similarity that chose who is asked: no correlation with similarity is then a
        test of leakage, and ``shape`` is "cannot tell" whatever it looks like.
    source_change, family_change, outside_change, bystander_change : Estimate
        Mean changes: of the source, its family, the others, and the last two together.
    specific : Estimate
        The source's change minus the mean of the others outside its family.
    size, family_size : str
        Of the bystanders' mean change, and the family's: "no leakage" when equivalent to none (90 %
        interval within 5 % of the outcome's range), "leaks" or "opposite" when that interval lies
        beyond this margin in, or against, the taught direction, "inconclusive" else.
    rho, family_rho, outside_rho : Estimate
        Over all bystanders, the family, and the others. Not a number below five of them.
    rho_by_seed : tuple of float
        The first of these, by seed.
    reliability : Estimate
        Share of the variance between bystanders' changes that is not noise of the questions, 0 to
        1; over all bystanders.
    true_rho : Estimate
        Rho corrected for it, which does not depend on the number of questions.
    pseudo_p, family_pseudo_p : float
        Primary p of rho, and of the family's: two-sided, against smooth damage that has nothing to
        do with this source (``pseudo_source``).
    place, pretenders : int
        Where the source's rho stands among the personas outside its family pretended to be the
        source, steepest in the taught direction first; and how many these are, itself included.
    cluster_p : float
        Two-sided p of the slope of change over ranks of similarity, wild cluster bootstrap.
    clusters : int
        Of personas, over which that is robust.
    shape : str
        "none", "step" (the family changed, and not by nearness), "gradient", or "cannot tell".
    between : Estimate
        The family's mean change minus that of the others.
    step : Estimate
        Within the family: change at the best single step of similarity, nearer minus farther side.
    beyond_step, outside_beyond_step : Estimate
        Slope left within both sides of that step, as a change over the group's whole range of
        ranks: of the family, and of the others beyond the best step among them.
    needed : Needed
        What would settle it, at a power of .9.
    """

    source: str
    seeds: int
    questions: int
    family: int
    outside: int
    by_similarity: bool
    source_change: Estimate
    family_change: Estimate
    outside_change: Estimate
    bystander_change: Estimate
    specific: Estimate
    size: Size
    family_size: Size
    rho: Estimate
    family_rho: Estimate
    outside_rho: Estimate
    rho_by_seed: tuple[float, ...]
    reliability: Estimate
    true_rho: Estimate
    pseudo_p: float
    family_pseudo_p: float
    place: int
    pretenders: int
    cluster_p: float
    clusters: int
    shape: Shape
    between: Estimate
    step: Estimate
    beyond_step: Estimate
    outside_beyond_step: Estimate
    needed: Needed


def evidence(
    changes: Sequence[pd.DataFrame],
    similarity: pd.DataFrame,
    source: str,
    bystanders: Sequence[str],
    family: Collection[str],
    clusters: Mapping[str, str],
    outcome: Outcome,
    *,
    by_similarity: bool,
    seed: int,
) -> Evidence:
    """Gather the evidence of one source.

    Parameters
    ----------
    changes : sequence of DataFrame
        One per seed (one cell alone is a list of one): a row per persona, a column per question,
        each the outcome after training minus before, in the outcome's own bounds (not its unit).
        The source and the bystanders are there; others are ignored.
    similarity : DataFrame
        Square: cosine of every persona (row) to every other (column). Personas beside source and
        bystanders, such as negatives, are pretended to be the source too.
    source : str
        The persona that was taught the behaviour.
    bystanders : sequence of str
        Personas never trained, in any of the seeds.
    family : collection of str
        Of ``data.relations.family_of``.
    clusters : mapping of str to str
        Of ``data.relations.clusters_of``.
    outcome : Outcome
        Its bounds, direction and scale.
    by_similarity : bool
        Whether the personas asked are the source's nearest and controls, rather than a list made
        without regard to it.
    seed : int
        Of all resampling.

    Raises
    ------
    InputError
        A change or a similarity is missing or not a number; names the persona.
    """
    bystanders = [name for name in bystanders if name != source]
    asked = [source, *bystanders]
    tables = [
        table.reindex(index=pd.Index(asked), columns=changes[0].columns).to_numpy(float)
        for table in changes
    ]
    for table in tables:
        refuse_unknown(table, asked, "the change", "run `dvc repro evaluate`")
    square = similarity.reindex(index=similarity.index, columns=similarity.index)
    refuse_unknown(square.to_numpy(float), list(square.index), "a similarity", GEOMETRY)
    if missing := [name for name in asked if name not in square.index]:
        raise InputError(f"similarity: {missing[0]} is not among the personas measured; {GEOMETRY}")
    change = np.mean(tables, axis=0)
    toward = square.loc[source, asked].to_numpy(float)
    relative = np.array([name in family for name in asked])
    relative[0] = False  # the source is no bystander
    groups = [np.flatnonzero(relative), np.flatnonzero(~relative)[1:]]
    rng = np.random.default_rng(seed)
    resampled = two_way.resample(change, groups, rng)
    own = float(resampled.mean[0]), resampled.means[:, 0]
    relatives, others, everyone = (
        two_way.mean_draws(resampled, chosen) for chosen in ([FAMILY], [OUTSIDE], BOTH)
    )
    unit = outcome.scale

    def change_of(drawn: tuple[float, Floats]) -> Estimate:
        return two_way.percentile(unit * drawn[0], unit * drawn[1])

    rho = two_way.rho_draws(resampled, toward, BOTH)
    family_rho, outside_rho = (
        two_way.centred_percentile(*two_way.rho_draws(resampled, toward, [group]))
        for group in (FAMILY, OUTSIDE)
    )
    reliability, alone, of_resamples = two_way.reliability_draws(resampled, BOTH)
    true_rho = two_way.disattenuated(*rho, reliability, of_resamples)
    mean = pd.Series(resampled.mean[1:], index=bystanders)
    tests = [
        pseudo_source(part, square, source, family, clusters, outcome.direction, seed=seed)
        for part in (mean, mean[relative[1:]])
    ]
    steps = shape_of(
        resampled,
        toward,
        reach=outcome.high - outcome.low,
        direction=outcome.direction,
        by_similarity=by_similarity,
    )
    return Evidence(
        source=source,
        seeds=len(changes),
        questions=change.shape[1],
        family=len(groups[FAMILY]),
        outside=len(groups[OUTSIDE]),
        by_similarity=by_similarity,
        source_change=change_of(own),
        family_change=change_of(relatives),
        outside_change=change_of(others),
        bystander_change=change_of(everyone),
        specific=change_of((own[0] - others[0], own[1] - others[1])),
        size=size_of(everyone[1], outcome),
        family_size=size_of(relatives[1], outcome),
        rho=two_way.centred_percentile(*rho),
        family_rho=family_rho,
        outside_rho=outside_rho,
        rho_by_seed=tuple(
            rank_correlation(toward[1:], table[1:].mean(axis=1), two_way.FEWEST) for table in tables
        ),
        reliability=two_way.percentile(reliability, alone),
        true_rho=true_rho,
        pseudo_p=tests[0].p,
        family_pseudo_p=tests[1].p,
        place=tests[0].place,
        pretenders=tests[0].pretenders,
        cluster_p=wild_cluster_p(
            toward[1:], resampled.mean[1:], [clusters[name] for name in bystanders], rng
        ),
        clusters=len({clusters[name] for name in bystanders}),
        shape=steps.shape,
        between=_scaled(steps.between, unit),
        step=_scaled(steps.step, unit),
        beyond_step=_scaled(steps.slope, unit),
        outside_beyond_step=_scaled(steps.outside_slope, unit),
        needed=_needed(true_rho.value, tables),
    )


def _scaled(estimate: Estimate, unit: float) -> Estimate:
    return Estimate(unit * estimate.value, unit * estimate.low, unit * estimate.high)


def _needed(rho: float, tables: Sequence[Floats]) -> Needed:
    stack = np.stack(tables)[:, 1:]
    seeds, personas, questions = stack.shape
    if personas < 2 or questions < 2:
        return Needed(float("nan"), float("nan"), float("nan"))
    return needed(rho, components(stack), personas, questions, seeds)


def evidence_of_cells(
    personas: pd.DataFrame,
    changes: Sequence[pd.DataFrame],
    pairs: pd.DataFrame,
    kind: Kind,
    outcome: Outcome,
    *,
    by_similarity: bool,
    seed: int,
) -> Evidence:
    """Gather the evidence of the cells of one source from the tables that they leave.

    Parameters
    ----------
    personas : DataFrame
        Of ``persona_table``: who is the source, who a bystander, and of which relation.
    changes : sequence of DataFrame
        As for ``evidence``.
    pairs : DataFrame
        Of ``cosines.table`` at one layer, of all pairs.
    kind : {"raw", "centred"}
        Which cosine is the similarity.
    outcome : Outcome
        As for ``evidence``.
    by_similarity : bool
        Likewise.
    seed : int
        Likewise.
    """
    people = people_of(personas)
    [source] = personas.loc[personas["role"] == "source", "persona"]
    return evidence(
        changes,
        pairs.pivot(index="source", columns="persona", values=kind).astype(float),
        source,
        personas.loc[personas["role"] == "bystander", "persona"].tolist(),
        family_of(people, source),
        clusters_of(people),
        outcome,
        by_similarity=by_similarity,
        seed=seed,
    )


def people_of(personas: pd.DataFrame) -> dict[str, Persona]:
    """Read the personas of a persona table, by name; what is missing there is not a number.

    Parameters
    ----------
    personas : DataFrame
        ``persona``, ``category``, ``relation``, ``prompt``.
    """
    columns = ["persona", "category", "relation", "prompt"]
    known = personas[columns].astype(object).where(personas[columns].notna(), None)
    return {row[0]: Persona(*row) for row in known.itertuples(index=False, name=None)}


def rhos(seen: Evidence, name: str) -> dict[str, float]:
    """Return the correlations of the evidence, flat, as MLflow and ``dvc metrics`` compare them.

    Parameters
    ----------
    seen : Evidence
        Of a cell.
    name : str
        What the numbers are called: ``spearman_raw``.

    Returns
    -------
    dict of float
        ``<name>``, ``<name>_family``, ``<name>_outside``, each with ``*_low``, ``*_high``; the
        first two with ``*_p`` (``pseudo_source``).
    """
    parts = {"": seen.rho, "_family": seen.family_rho, "_outside": seen.outside_rho}
    flat = {
        f"{name}{part}{end}": value
        for part, rho in parts.items()
        for end, value in (("", rho.value), ("_low", rho.low), ("_high", rho.high))
    }
    return flat | {
        f"{name}_p": seen.pseudo_p,
        f"{name}_family_p": seen.family_pseudo_p,
    }


def sizes(seen: Evidence) -> dict[str, float]:
    """Return the changes of the evidence, flat: they do not depend on the cosine.

    Parameters
    ----------
    seen : Evidence
        Of a cell.

    Returns
    -------
    dict of float
        ``bystander_delta``, ``family_delta``, ``outside_delta``, ``reliability``, each with
        ``*_low``, ``*_high``.
    """
    estimates = {
        "bystander_delta": seen.bystander_change,
        "family_delta": seen.family_change,
        "outside_delta": seen.outside_change,
        "reliability": seen.reliability,
    }
    return {
        f"{name}{end}": value
        for name, each in estimates.items()
        for end, value in (("", each.value), ("_low", each.low), ("_high", each.high))
    }
