"""A cell in tables: one row per persona, and the same by category, by benchmark and in one line."""

from collections.abc import Mapping

import pandas as pd
from statsmodels.stats.multitest import multipletests

from persona_leakage.analysis.correlation import partial_correlation
from persona_leakage.analysis.paired import (
    aligned,
    change_interval,
    change_p,
    mean,
    mean_interval,
)
from persona_leakage.analysis.ranks import rank_correlation
from persona_leakage.data.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import Role

FEWEST = 5  # bystanders of a category, for a gradient within it


def persona_table(
    before: pd.DataFrame,
    after: pd.DataFrame,
    similarity: pd.DataFrame,
    personas: Mapping[str, Persona],
    role: Mapping[str, Role],
    outcome: Outcome,
    seed: int,
) -> pd.DataFrame:
    """Summarise a cell, one row per persona, most similar to the source first.

    Parameters
    ----------
    before, after : DataFrame
        Scores of the base model and of the cell: ``persona``, ``question`` (key), ``outcome``,
        ``label_mass``.
        Rows are matched by persona and question, whatever their order.
    similarity : DataFrame
        ``persona``, ``raw`` and ``centred`` towards the source, at the study's layer.
    personas : mapping
        By name.
    role : mapping
        Of ``roles``; the personas to summarise.
    outcome : Outcome
        What the scores are worth.
    seed : int
        Of the bootstrap and of the permutations, where the outcome has more than two values.

    Returns
    -------
    DataFrame
        ``persona``, ``category``, ``relation``, ``prompt``, ``prompt_length`` (characters),
        ``role``; ``raw``,
        ``centred`` (cosines); ``questions`` (count); ``before``, ``after`` (mean outcomes) with
        ``*_low``, ``*_high`` (95 %, of ``paired.mean_interval``); ``delta`` (after minus before,
        times the outcome's scale) with ``delta_low``, ``delta_high`` (95 %, of
        ``paired.change_interval``); ``mass_before``, ``mass_after`` (mean label mass, not a number
        where no labels are scored); ``broken``, ``mended`` (questions whose outcome fell, rose);
        ``p`` (of ``paired.change_p``), ``p_holm`` (Holm 1979), ``p_bh`` (Benjamini & Hochberg
        1995), both over the personas.

    Raises
    ------
    InputError
        Before and after do not hold the same answers, or a persona's similarity is missing.
    """
    cosines = similarity.set_index("persona")
    for name in role:
        if name not in cosines.index:
            raise InputError(
                f"similarity: {name} is not among the personas measured; run `dvc repro geometry`"
            )
    wide = dict(zip(("before", "after"), aligned(before, after, list(role), outcome), strict=True))
    mass = {
        when: scores.groupby("persona")["label_mass"].mean()
        for when, scores in (("before", before), ("after", after))
    }
    rows = []
    for name, role_of_it in role.items():
        answers = {when: table.loc[name].to_numpy(float) for when, table in wide.items()}
        change = answers["after"] - answers["before"]
        row = {
            "persona": name,
            "category": personas[name].category,
            "relation": personas[name].relation,
            "prompt": personas[name].prompt,
            "prompt_length": len(personas[name].prompt or ""),
            "role": role_of_it,
            "raw": cosines.loc[name, "raw"],
            "centred": cosines.loc[name, "centred"],
            "questions": len(change),
        }
        for when, values in answers.items():
            row[when] = mean(values)
            row[f"{when}_low"], row[f"{when}_high"] = mean_interval(values, outcome, seed=seed)
        low, high = change_interval(answers["before"], answers["after"], outcome, seed=seed)
        rows.append(
            row
            | {
                # not after minus before: equal counts of changes give the very same number
                "delta": outcome.scale * mean(change),
                "delta_low": low,
                "delta_high": high,
                "mass_before": mass["before"][name],
                "mass_after": mass["after"][name],
                "broken": int((change < 0).sum()),
                "mended": int((change > 0).sum()),
                "p": change_p(answers["before"], answers["after"], outcome, seed=seed),
            }
        )
    table = pd.DataFrame(rows)
    table["p_holm"] = multipletests(table["p"], method="holm")[1]
    table["p_bh"] = multipletests(table["p"], method="fdr_bh")[1]
    return table.sort_values("raw", ascending=False, ignore_index=True)


def headline(table: pd.DataFrame) -> dict[str, float]:
    """Summarise a cell in the numbers that MLflow and ``dvc metrics`` compare.

    ``*_delta`` are in the outcome's unit: of the source, and the means over never-trained
    bystanders (all, and those unrelated to the source), over trained negatives and over control
    conditions. Intervals and correlations are those of ``evidence``.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``.
    """
    bystanders = table[table["role"] == "bystander"]
    source = table[table["role"] == "source"].iloc[0]
    numbers = {
        "source_before": source["before"],
        "source_after": source["after"],
        "source_delta": source["delta"],
        "source_delta_low": source["delta_low"],
        "source_delta_high": source["delta_high"],
        "baseline_mean": table["before"].mean(),
        "mass_before": table["mass_before"].mean(),
        "mass_after": table["mass_after"].mean(),
        "source_mass_after": source["mass_after"],
        "bystander_delta": bystanders["delta"].mean(),
        "unrelated_delta": bystanders[bystanders["category"] == "unrelated"]["delta"].mean(),
        "negative_delta": table[table["role"] == "negative"]["delta"].mean(),
        "condition_delta": table[table["role"] == "condition"]["delta"].mean(),
        "bystanders": len(bystanders),
        "questions": table["questions"].iloc[0],
    }
    return {name: float(value) for name, value in numbers.items()}


def given_covariates(table: pd.DataFrame, seed: int) -> dict[str, float]:
    """Correlate similarity and change given what every persona brings along.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``.
    seed : int
        Of permutations and bootstrap.

    Returns
    -------
    dict of float
        ``partial_raw``, with ``*_low``, ``*_high``, ``*_p``: Spearman's over bystanders, given the
        baseline outcome and the length of the prompt. Interval and p (Freedman & Lane 1983) take
        personas for exchangeable, which families are not: it carries no verdict.
    """
    bystanders = table[table["role"] == "bystander"]
    partial = partial_correlation(
        bystanders["raw"].to_numpy(float),
        bystanders["delta"].to_numpy(float),
        bystanders[["before", "prompt_length"]].to_numpy(float),
        seed=seed,
    )
    values = {"": partial.r, "_low": partial.low, "_high": partial.high, "_p": partial.p}
    return {f"partial_raw{end}": float(value) for end, value in values.items()}


def by_category(table: pd.DataFrame, outcome: Outcome) -> pd.DataFrame:
    """Tabulate the gradient within each category of bystanders, where it has five or more.

    Parameters
    ----------
    table : DataFrame
        Of ``persona_table``.
    outcome : Outcome
        Its direction says which category comes first.

    Returns
    -------
    DataFrame
        ``category``, ``personas``, ``raw`` (mean cosine), ``delta`` (mean), ``rho`` (Spearman over
        the category's bystanders; not a number for fewer than five). The category that moved
        farthest in the taught direction first.
    """
    rows = [
        {
            "category": category,
            "personas": len(group),
            "raw": group["raw"].mean(),
            "delta": group["delta"].mean(),
            "rho": rank_correlation(group["raw"], group["delta"], FEWEST),
        }
        for category, group in table[table["role"] == "bystander"].groupby("category")
    ]
    columns = ["category", "personas", "raw", "delta", "rho"]
    return pd.DataFrame(rows, columns=columns).sort_values(
        "delta", ascending=outcome.direction < 0, ignore_index=True
    )


def by_benchmark(
    before: pd.DataFrame,
    after: pd.DataFrame,
    similarity: pd.DataFrame,
    personas: Mapping[str, Persona],
    role: Mapping[str, Role],
    outcome: Outcome,
    seed: int,
) -> pd.DataFrame:
    """Tabulate the headline numbers of each benchmark: damage of one task, or general.

    Parameters
    ----------
    before, after : DataFrame
        As for ``persona_table``, with ``benchmark``.
    similarity : DataFrame
        Likewise.
    personas, role : mapping
        Likewise.
    outcome : Outcome
        Likewise.
    seed : int
        Likewise.

    Returns
    -------
    DataFrame
        ``benchmark``, then the numbers of ``headline`` and ``rho`` (Spearman's, of raw cosine and
        change over bystanders), over that benchmark's questions alone.
    """
    rows = []
    for name in dict.fromkeys(after["benchmark"]):
        table = persona_table(
            before[before["benchmark"] == name],
            after[after["benchmark"] == name],
            similarity,
            personas,
            role,
            outcome,
            seed,
        )
        bystanders = table[table["role"] == "bystander"]
        rho = rank_correlation(bystanders["raw"], bystanders["delta"], FEWEST)
        rows.append({"benchmark": name, **headline(table), "rho": rho})
    return pd.DataFrame(rows)
