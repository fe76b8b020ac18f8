"""What it would take to tell: personas, questions and seeds for a power of .9."""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats

from persona_leakage.analysis.ranks import Floats

POWER = 0.9
LEVEL = 0.05


@dataclass(frozen=True)
class Components:
    """What the variance of one answer's change is made of, personas compared.

    Attributes
    ----------
    persona : float
        Between personas, the same for all seeds and questions.
    persona_seed : float
        Of a persona from seed to seed; not a number with one seed.
    answer : float
        What is left, of one persona, seed and question.
    """

    persona: float
    persona_seed: float
    answer: float


@dataclass(frozen=True)
class Needed:
    """Numbers of each, the others as they are, at which the effect observed would be found.

    Attributes
    ----------
    personas, questions, seeds : float
        Infinite where no number of them alone suffices; not a number without an effect. Seeds are
        not a number where there is one, from which nobody knows how they differ.
    """

    personas: float
    questions: float
    seeds: float


def components(changes: Floats) -> Components:
    """Estimate the variance components by the method of moments (Searle, Casella & McCulloch 1992).

    Parameters
    ----------
    changes : ndarray of shape (seeds, personas, questions)
        After minus before; two personas and two questions at least.
    """
    seeds, personas, questions = changes.shape
    means = changes.mean(axis=2)
    rest = changes - means[:, :, None] - changes.mean(axis=1, keepdims=True)
    rest += changes.mean(axis=(1, 2), keepdims=True)
    answer = float((rest**2).sum() / (seeds * (personas - 1) * (questions - 1)))
    between = float(means.mean(axis=0).var(ddof=1))
    if seeds == 1:
        return Components(max(between - answer / questions, 0.0), float("nan"), answer)
    about = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
    by_seed = float((about**2).sum() / ((seeds - 1) * (personas - 1)))
    return Components(
        max(between - by_seed / seeds, 0.0), max(by_seed - answer / questions, 0.0), answer
    )


def needed(rho: float, parts: Components, personas: int, questions: int, seeds: int) -> Needed:
    """Say how many of each would find this rho at 5 %, two-sided, with a power of .9.

    Normal approximation on Fisher's scale with Spearman's variance of Bonett & Wright (2000),
    (1 + rho^2 / 2) / (personas - 3); noise shrinks rho by the square root of the reliability
    (Spearman 1904), which grows with questions and seeds. For an interval that excludes zero, with
    personas that do not depend on each other: against smooth damage (``pseudo_source``) more of
    them help little.

    Parameters
    ----------
    rho : float
        Freed of noise.
    parts : Components
        Of the variance.
    personas, questions, seeds : int
        As they are; more than three personas.
    """
    nan, inf = float("nan"), float("inf")
    if not math.isfinite(rho) or rho == 0 or personas <= 3 or parts.persona <= 0:
        return Needed(nan, nan, nan)
    z = float(stats.norm.isf(LEVEL / 2) + stats.norm.ppf(POWER))
    by_seed = parts.persona_seed if math.isfinite(parts.persona_seed) else 0.0

    def reliability(asked: float, trained: float) -> float:
        noise = by_seed / trained + parts.answer / (asked * trained)
        return parts.persona / (parts.persona + noise)

    def people(seen: float) -> float:
        return 3 + (1 + seen**2 / 2) * (z / math.atanh(min(abs(seen), 1 - 1e-9))) ** 2

    enough = people(rho * math.sqrt(reliability(questions, seeds)))
    # the least reliability at which this many personas suffice
    tried = np.linspace(1e-4, 1, 10_000)
    suffices = [people(rho * math.sqrt(share)) <= personas for share in tried]
    if not any(suffices):
        return Needed(math.ceil(enough), inf, inf if math.isfinite(parts.persona_seed) else nan)
    noise = parts.persona * (1 / float(tried[suffices.index(True)]) - 1)  # at most
    left = noise - by_seed / seeds
    asked = math.ceil(parts.answer / (seeds * left)) if left > 0 else inf
    trained = math.ceil((by_seed + parts.answer / questions) / noise) if noise > 0 else inf
    return Needed(
        math.ceil(enough),
        max(asked, 1),
        max(trained, 1) if math.isfinite(parts.persona_seed) else nan,
    )
