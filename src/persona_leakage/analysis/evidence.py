"""All that a source's cells say for and against leakage, in one record."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from persona_leakage.analysis.equivalence import Size
from persona_leakage.analysis.estimate import Estimate
from persona_leakage.analysis.settle import Needed
from persona_leakage.analysis.shape import Shape
from persona_leakage.study.outcome import Outcome


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
        interval within 5 % of the outcome's range), "leaks" or "opposite" when the 95 % interval
        excludes zero in, or against, the taught direction, "inconclusive" else.
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
    step : Estimate
        Change at the best single step of similarity: beyond it minus before it.
    beyond_step : Estimate
        Slope that is left within both sides of the steps, as a change over the whole range of
        ranks.
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
    step: Estimate
    beyond_step: Estimate
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
    raise NotImplementedError
