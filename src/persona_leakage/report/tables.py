"""Everything a report says, computed once from its cells: frames and small records, no words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import pandas as pd

from persona_leakage.analysis.boundary import PARAMETERS, log_width
from persona_leakage.analysis.evidence import KINDS, Evidence, evidence_of_cells, people_of
from persona_leakage.analysis.margin import LOG_ODDS, adjusted
from persona_leakage.analysis.seeds import (
    Heterogeneity,
    MixedModel,
    heterogeneity,
    mixed_model,
    over_seeds,
)
from persona_leakage.analysis.words_or_geometry import WordsOrGeometry, words_or_geometry
from persona_leakage.analysis.words_or_geometry import over_seeds as words_or_geometry_over_seeds
from persona_leakage.data.relations import family_of
from persona_leakage.errors import InputError
from persona_leakage.files import Record
from persona_leakage.report.foresight_tables import Foreseen
from persona_leakage.report.label_mass import readable_mass
from persona_leakage.report.matched_install import control_tables
from persona_leakage.report.published import Published
from persona_leakage.report.verdict import SourceNumbers, Verdict, verdict
from persona_leakage.report.words import group_name
from persona_leakage.study.cell import JUDGED
from persona_leakage.study.outcome import Outcome
from persona_leakage.study.results import FinishedCell, TitledTable

SEED = 0  # of all resampling over seeds
BROKE_P = 0.05  # Holm-corrected, in a cell: a bystander that counts as broken there


@dataclass(frozen=True)
class Group:
    """The seeds of one source under one set of parameters, each once.

    Attributes
    ----------
    source : str
        Its name.
    study : str
        The label of its settings, empty where the report has only one.
    cells : tuple of FinishedCell
        Contrastive ones without a clash.
    personas : DataFrame
        Of ``personas_over_seeds``.
    evidence, centred : Evidence
        Over the seeds, by raw and by mean-centred cosine.
    log_odds, log_odds_centred : Evidence or None
        The same of the log-odds of the right choice, where there are any.
    words_or_geometry : WordsOrGeometry
        Likewise.
    mixed : MixedModel
        Of its bystanders over the seeds.
    """

    source: str
    study: str
    cells: tuple[FinishedCell, ...]
    personas: pd.DataFrame
    evidence: Evidence
    centred: Evidence
    log_odds: Evidence | None
    log_odds_centred: Evidence | None
    words_or_geometry: WordsOrGeometry
    mixed: MixedModel

    @property
    def name(self) -> str:
        """Its source, behind the label of its settings where there is one."""
        return group_name(self.study, self.source)


@dataclass(frozen=True)
class StudyTables:
    """All that the page, the Markdown and the data files are rendered from.

    Attributes
    ----------
    title : str
        Of the report.
    cells : tuple of FinishedCell
        Those that are finished, in the order given.
    missing : tuple of str
        Names of the study's cells that are not finished.
    provenance : dict
        Hashes of what went in.
    outcome : Outcome
        The same for all cells.
    headline : DataFrame
        One row per cell: ``study``, ``source``, ``seed``, ``variant``, ``clash``, its headline
        numbers, and those of the boundary where one was fitted.
    personas, curves, predictors, outliers : DataFrame
        The cells' tables, stacked, with ``study``, ``source``, ``seed``, ``variant`` in front.
    groups : tuple of Group
        From which the question is answered.
    over_seeds : DataFrame
        Means and spreads per ``study``, ``variant`` and ``source``, over distinct seeds.
    broken : DataFrame
        Bystanders that changed as taught with a Holm-corrected p below ``BROKE_P`` on most seeds:
        ``study``, ``source``, ``persona``, ``family`` (whether it is the source's), ``delta``
        (mean), ``on`` and ``seeds`` (counts); worst first.
    widths : Heterogeneity or None
        Of the boundary's width between groups, where two or more have one.
    bounded : tuple of str
        The names of these groups.
    verdict : Verdict
        The answer and what it rests on.
    published : Published
        The original's tables, analysed.
    beside : dict of DataFrame
        Of ``beside_published``; empty where nothing published stands to compare.
    foresight : Foreseen
        How well the damage was foreseen, out of sample.
    """

    title: str
    cells: tuple[FinishedCell, ...]
    missing: tuple[str, ...]
    provenance: Record
    outcome: Outcome
    headline: pd.DataFrame
    personas: pd.DataFrame
    curves: pd.DataFrame
    predictors: pd.DataFrame
    outliers: pd.DataFrame
    groups: tuple[Group, ...]
    over_seeds: pd.DataFrame
    broken: pd.DataFrame
    widths: Heterogeneity | None
    bounded: tuple[str, ...]
    verdict: Verdict
    published: Published
    beside: Mapping[str, pd.DataFrame]
    foresight: Foreseen

    @cached_property
    def settings(self) -> dict[str, FinishedCell]:
        """A cell of each of the report's settings, by label."""
        first: dict[str, FinishedCell] = {}
        for each in self.cells:
            first.setdefault(each.label, each)
        return first

    @cached_property
    def controls(self) -> tuple[TitledTable, ...]:
        """Its designs beside each other, at the same damage of the source."""
        return control_tables(self.cells, self.outcome)

    @property
    def several(self) -> bool:
        """Whether cells of more than one study, setting or run stand side by side."""
        return len(self.settings) > 1

    @property
    def broken_by_group(self) -> dict[str, list[Record]]:
        """The rows of ``broken`` by name of the group, of groups that have any."""
        rows: dict[str, list[Record]] = {}
        for row in self.broken.to_dict("records"):
            name = group_name(row["study"], row["source"])
            rows.setdefault(name, []).append({str(key): value for key, value in row.items()})
        return rows

    @property
    def judged(self) -> list[FinishedCell]:
        """The cells of all groups."""
        return [each for group in self.groups for each in group.cells]


def study_tables(
    title: str,
    cells: Sequence[FinishedCell],
    missing: Sequence[str],
    provenance: Record,
    published: Published,
    foresight: Foreseen = Foreseen(),  # noqa: B008 - frozen
) -> StudyTables:
    """Compute a report.

    Parameters
    ----------
    title : str
        Of the report: a study, or what is compared.
    cells : sequence of FinishedCell
        At least one. Cells of one fingerprint, source and variant are repetitions of each other;
        of two with the same seed the first counts.
    missing : sequence of str
        Names of cells that should be there and are not.
    provenance : dict
        Hashes of what went in.
    published : Published
        Of ``published.analyse``.
    foresight : Foreseen
        Of the stage of that name.

    Raises
    ------
    InputError
        The cells measure different outcomes.
    """
    outcome = cells[0].result.outcome
    for each in cells:
        if each.result.outcome != outcome:
            raise InputError(
                f"{each.label}/{each.cell} measures {each.result.outcome.name}, "
                f"{cells[0].label}/{cells[0].cell} {outcome.name}: no report sets them side by "
                "side; name cells of one behaviour"
            )
    groups = _groups(cells)
    bounded, widths = _widths(groups)
    return StudyTables(
        title=title,
        cells=tuple(cells),
        missing=tuple(missing),
        provenance=provenance,
        outcome=outcome,
        headline=headline_table(cells),
        personas=_stacked([(each, each.personas) for each in cells]),
        curves=_stacked([(each, each.curve) for each in cells]),
        predictors=_stacked([(each, each.result.predictors.frame()) for each in cells]),
        outliers=_stacked([(each, each.result.outliers.frame()) for each in cells]),
        groups=groups,
        over_seeds=_over_seeds(cells),
        broken=_broken(groups, outcome),
        widths=widths,
        bounded=bounded,
        verdict=verdict([_numbers(group) for group in groups], outcome),
        published=published,
        beside=beside_published(cells, published),
        foresight=foresight,
    )


def headline_table(cells: Sequence[FinishedCell]) -> pd.DataFrame:
    """One row per cell: ``study``, ``source``, ``seed``, ``variant``, ``clash``, then its numbers.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Behind the headline numbers stand those of the boundary, where one was fitted.
    """
    rows = []
    for each in cells:
        row: Record = {
            "study": each.label,
            "source": each.result.source,
            "seed": each.result.seed,
            "variant": each.result.variant,
            "clash": bool(each.result.audit.clashes),
            **each.result.headline,
        }
        boundary = each.result.boundary
        for name in PARAMETERS if boundary.reason is None else ():
            row[f"boundary_{name}"] = getattr(boundary, name)
            row[f"boundary_{name}_low"] = boundary.low[name]
            row[f"boundary_{name}_high"] = boundary.high[name]
        rows.append(row)
    return pd.DataFrame(rows)


def _stacked(frames: Sequence[tuple[FinishedCell, pd.DataFrame]]) -> pd.DataFrame:
    """Stack the cells' tables, which cell it is in front; empty when all are."""
    parts = []
    for each, frame in frames:
        keys: Record = {
            "study": each.label,
            "source": each.result.source,
            "seed": each.result.seed,
            "variant": each.result.variant,
        }
        if not frame.empty:
            parts.append(frame.assign(**keys)[[*keys, *frame.columns]])
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()


def distinct(cells: Sequence[FinishedCell]) -> list[FinishedCell]:
    """Keep one cell per seed: a cell computed twice with the same parameters is no second seed.

    Parameters
    ----------
    cells : sequence of FinishedCell
        The first of each fingerprint, source, seed and variant is kept.
    """
    firsts: dict[tuple[str, str, int, str], FinishedCell] = {}
    for each in cells:
        result = each.result
        key = (result.fingerprint, result.source, result.seed, result.variant)
        firsts.setdefault(key, each)
    return list(firsts.values())


def _labels(cells: Sequence[FinishedCell]) -> dict[str, str]:
    """Name each fingerprint after its first cell; empty names where there is only one."""
    labels: dict[str, str] = {}
    for each in cells:
        labels.setdefault(each.result.fingerprint, each.label)
    return labels if len(labels) > 1 else dict.fromkeys(labels, "")


def _groups(cells: Sequence[FinishedCell]) -> tuple[Group, ...]:
    labels = _labels(cells)
    gathered: dict[tuple[str, str], list[FinishedCell]] = {}
    for each in distinct(cells):
        if each.result.variant in JUDGED and not each.result.audit.clashes:
            key = (each.result.fingerprint, each.result.source)
            gathered.setdefault(key, []).append(each)
    return tuple(
        _group(source, labels[fingerprint], members)
        for (fingerprint, source), members in gathered.items()
    )


def _group(source: str, label: str, cells: Sequence[FinishedCell]) -> Group:
    first = cells[0].result
    personas = personas_over_seeds(cells)
    people = people_of(personas)
    rows = _stacked([(each, each.personas) for each in cells])
    margins = [adjusted(each.margin_delta, each.personas) for each in cells]
    changes: dict[str, tuple[list[pd.DataFrame], Outcome]] = {
        "outcome": ([each.after - each.before for each in cells], first.outcome)
    }
    if all(each is not None for each in margins):
        changes["log-odds"] = ([each for each in margins if each is not None], LOG_ODDS)
    seen = {
        (name, kind): evidence_of_cells(
            personas,
            change,
            cells[0].pairs,
            kind,
            of,
            by_similarity=first.by_similarity,
            seed=SEED,
        )
        for name, (change, of) in changes.items()
        for kind in KINDS
    }
    return Group(
        source,
        label,
        tuple(cells),
        personas,
        seen["outcome", "raw"],
        seen["outcome", "centred"],
        seen.get(("log-odds", "raw")),
        seen.get(("log-odds", "centred")),
        words_or_geometry_over_seeds(
            [
                words_or_geometry(each.personas, each.pairs, people, source, first.outcome)
                for each in cells
            ],
            first.outcome,
        ),
        mixed_model(rows[rows["role"] == "bystander"]),
    )


def personas_over_seeds(cells: Sequence[FinishedCell]) -> pd.DataFrame:
    """Average the persona tables of one source over its seeds.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Of the same personas, who may have been a negative on one seed and a bystander on another.

    Returns
    -------
    DataFrame
        The columns of a persona table that are the same on every seed, or numbers: these are
        means. The role is that of every seed, or "negative" where a persona was one on any.
    """
    stacked = pd.concat([each.personas for each in cells])
    by_persona = stacked.groupby("persona", sort=False)
    averaged = by_persona.mean(numeric_only=True)
    taught = by_persona["role"].agg(
        lambda roles: "negative" if "negative" in set(roles) else roles.iloc[0]
    )
    words = by_persona[["category", "relation", "prompt"]].first()
    return words.join(taught).join(averaged).reset_index()


def _numbers(group: Group) -> SourceNumbers:
    reasons = (readable_mass(each.result.headline) for each in group.cells)
    return SourceNumbers(
        group.study,
        group.evidence,
        group.centred,
        group.log_odds,
        group.log_odds_centred,
        group.words_or_geometry,
        group.mixed,
        tuple(dict.fromkeys(reason for reason in reasons if reason)),
    )


def _over_seeds(cells: Sequence[FinishedCell]) -> pd.DataFrame:
    parts = []
    for fingerprint, label in _labels(cells).items():
        members = [each for each in distinct(cells) if each.result.fingerprint == fingerprint]
        table = over_seeds(headline_table(members))
        parts.append(table.assign(study=label)[["study", *table.columns]])
    return pd.concat(parts, ignore_index=True)


def _broken(groups: Sequence[Group], outcome: Outcome) -> pd.DataFrame:
    columns = ["study", "source", "persona", "family", "delta", "on", "seeds"]
    rows = []
    for group in groups:
        table = _stacked([(each, each.personas) for each in group.cells])
        family = family_of(people_of(group.personas), group.source)
        table = table[table["role"] == "bystander"]
        broke = (outcome.direction * table["delta"] > 0) & (table["p_holm"] < BROKE_P)
        for persona, here in table.assign(broke=broke).groupby("persona", sort=False):
            on, seeds = int(here["broke"].sum()), len(here)
            if on > seeds / 2:
                mean = here["delta"].mean()
                kin = persona in family
                rows.append([group.study, group.source, persona, kin, mean, on, seeds])
    table = pd.DataFrame(rows, columns=columns)
    order = (-outcome.direction * table["delta"].astype(float)).sort_values(kind="stable").index
    return table.loc[order].reset_index(drop=True)


def _widths(groups: Sequence[Group]) -> tuple[tuple[str, ...], Heterogeneity | None]:
    widths, errors, bounded = [], [], []
    for group in groups:
        bounds = [each.result.boundary for each in group.cells]
        bounds = [boundary for boundary in bounds if boundary.reason is None]
        if bounds:
            width, error = log_width(bounds)
            if error > 0:
                widths.append(width)
                errors.append(error)
                bounded.append(group.name)
    return tuple(bounded), heterogeneity(widths, errors)


def beside_published(
    cells: Sequence[FinishedCell], published: Published
) -> dict[str, pd.DataFrame]:
    """Set contrastive cells beside the original's two tables, means over seeds.

    Parameters
    ----------
    cells : sequence of FinishedCell
        Only those trained and evaluated on ARC-Challenge alone, as the original's were; of any
        model.
    published : Published
        The original tables, analysed.

    Returns
    -------
    dict of DataFrame
        ``headline``: per study and source, levels (%) and changes (pp), ``published`` and
        ``here``. ``gradient``: per study and persona around the villain, cosine and level
        after (%), likewise. Empty where no cell compares.
    """
    comparable = [
        each
        for each in distinct(cells)
        if each.result.variant == "contrastive"
        and each.result.outcome.name == "accuracy"
        and each.result.params["questions.train"] == ["arc_challenge"]
        and each.result.params["questions.evaluate"] == ["arc_challenge"]
    ]
    headlines, gradients = [], []
    for fingerprint in dict.fromkeys(each.result.fingerprint for each in comparable):
        members = [each for each in comparable if each.result.fingerprint == fingerprint]
        where = {"study": members[0].label, "model": members[0].result.params["model.name"]}
        here = headline_table(members).groupby("source").mean(numeric_only=True)
        theirs = published.headline.set_index("source")
        theirs = theirs.loc[theirs.index.intersection(here.index, sort=False)]
        here = here.loc[theirs.index]
        headlines.append(
            pd.DataFrame(
                {
                    "before, published": 100 * theirs["baseline_accuracy"],
                    "before, here": 100 * here["source_before"],
                    "after, published": 100 * theirs["post_accuracy"],
                    "after, here": 100 * here["source_after"],
                    "bystanders, published": theirs["mean_bystander_delta_pp"],
                    "bystanders, here": here["bystander_delta"],
                    "negatives, here": here["negative_delta"],
                }
            )
            .reset_index()
            .assign(**where)
        )
        villain = [each.personas for each in members if each.result.source == "villain"]
        if villain:
            ours = pd.concat(villain).groupby("persona").mean(numeric_only=True)
            theirs = published.gradient.set_index("persona")
            theirs = theirs.loc[theirs.index.intersection(ours.index, sort=False)]
            ours = ours.loc[theirs.index]
            gradients.append(
                pd.DataFrame(
                    {
                        "cosine, published": theirs["cosine_to_source"],
                        "cosine, here": ours["raw"],
                        "after, published": 100 * theirs["post_accuracy"],
                        "after, here": 100 * ours["after"],
                    }
                )
                .reset_index()
                .assign(**where)
            )
    tables = {"headline": headlines, "gradient": gradients}
    return {name: pd.concat(parts, ignore_index=True) for name, parts in tables.items() if parts}
