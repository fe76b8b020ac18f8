"""Rank personas by the damage that training a source would do to them, before it is trained.

python -m persona_leakage.pipeline.predict --source evil_scientist
python -m persona_leakage.pipeline.predict --source "You are a pirate." --text "You are a sailor."
"""

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

from persona_leakage.analysis import foresight
from persona_leakage.analysis.foresight import LeftOut
from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.catalog import TYPED, Persona, load_neutral, load_personas, typed
from persona_leakage.data.persona_sets import Participants, by_name
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import InputError, brief, command
from persona_leakage.files import Record, read_as, read_json, write_json, write_text
from persona_leakage.geometry.centroids import centroids
from persona_leakage.geometry.cosines import Measured, toward
from persona_leakage.model.loading import context, load_model, load_tokenizer
from persona_leakage.model.scoring import items
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.foreseen import (
    changes,
    compared,
    evidence,
    judge,
    stored,
    with_words,
)
from persona_leakage.pipeline.foresight import finished
from persona_leakage.progress import bar
from persona_leakage.report.foresight_tables import how_well, trust
from persona_leakage.report.words import spaced
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.study.results import FinishedCell
from persona_leakage.training import alignment

SHOWN = 25  # rows of the printed table
LONGEST = 48  # characters of a name there, and of a file's name


@command
def main(source: str, text: str | None) -> None:
    """Write the ranking as ``predictions/SOURCE.csv`` and ``.json``; print its top.

    Parameters
    ----------
    source : str
        A persona of the catalog, trained or not, or the system prompt of another.
    text : str or None
        A system prompt to be ranked among the study's personas; without one the whole catalog is
        ranked.
    """
    study = load_study()
    part = by_name(read_as(paths.personas(study), Participants).personas)
    personas = {**load_personas(paths.CATALOG), **part}
    taught = who(source, personas)
    measured = set(read_as(paths.centroids(study) / "manifest.json", Measured).personas)
    if text is None:
        asked = [persona for name, persona in personas.items() if name not in measured]
    else:
        asked = [typed(prompt_of("--text", text))]
    cells = finished(study)
    wanted = measure(study, taught, asked, personas)
    everyone = {**personas, **{each.name: each for each in (taught, *asked)}}
    table, told = rank(study, cells, taught.name, with_words(wanted, everyone))
    prompts = [everyone[name].prompt for name in table["persona"]]
    stem = paths.foresight(study).parent / "predictions" / slug(taught.name)
    text_of_table = table.to_csv(index=False, float_format="%.4g", lineterminator="\n")
    write_text(stem.with_name(f"{stem.name}.csv"), text_of_table)
    rows = [
        {**row, "prompt": prompt}
        for row, prompt in zip(table.to_dict("records"), prompts, strict=True)
    ]
    write_json(
        stem.with_name(f"{stem.name}.json"),
        {
            "study": study.study,
            "source": taught.name,
            "prompt": taught.prompt,
            **told,
            "personas": rows,
        },
    )
    print("\n".join(told["notes"]))
    print(printed(table))
    print(f"all {len(table)}: {stem}.csv, and with all of the above {stem}.json")


def who(source: str, personas: Mapping[str, Persona]) -> Persona:
    """Find the source in the catalog, or take it for a system prompt; its name is then its text.

    Parameters
    ----------
    source : str
        As given.
    personas : mapping
        Records, by name.

    Raises
    ------
    InputError
        A single word that is no name, or a condition without a prompt.
    """
    if source in personas and personas[source].prompt:
        return personas[source]
    if source in personas or len(source.split()) < 2:
        near = get_close_matches(source, personas, 3)
        raise InputError(
            f"--source: {source!r} is no persona with a prompt in the catalog"
            + (f" ({', '.join(near)}?)" if near and source not in personas else "")
            + '; name one, or type its system prompt, such as "You are a pirate."'
        )
    prompt = prompt_of("--source", source)
    return typed(prompt, prompt)


def prompt_of(option: str, text: str) -> str:
    """Return a text that was typed in, without space around it.

    Parameters
    ----------
    option : str
        Where it was typed.
    text : str
        As given.

    Raises
    ------
    InputError
        There is none.
    """
    if not text.strip():
        raise InputError(f'{option}: no text; type a system prompt, such as "You are a sailor."')
    return text.strip()


def slug(name: str) -> str:
    """Name a file after a source, whatever was typed.

    Parameters
    ----------
    name : str
        A persona's name, or a prompt.
    """
    return re.sub(r"\W+", "_", name.lower()).strip("_")[:LONGEST] or "typed_in"


def rank(
    study: Study, cells: Sequence[FinishedCell], source: str, wanted: pd.DataFrame
) -> tuple[pd.DataFrame, Record]:
    """Predict from words, prior and geometry, by a fit of the finished cells of other sources.

    Parameters
    ----------
    study : Study
        Whose predictors were measured.
    cells : sequence of FinishedCell
        What the fit learns from.
    source : str
        Whose training is predicted.
    wanted : DataFrame
        Of ``with_words``, for this source.

    Returns
    -------
    tuple of DataFrame and dict
        ``rank``, ``persona``; ``predicted`` (in the outcome's unit) and, where the cells have it,
        ``log_odds`` (of the right choice), each with ``_low`` and ``_high``; or ``centred``
        (cosine) where no cell is finished: the most damaged first. And ``notes``, sentences on
        what it rests on and how right it was; ``method``, ``fitted_on``, ``judged`` as data.
    """
    layer = read_as(paths.centroids(study) / "manifest.json", Measured).layer
    others = wanted["persona"] != source
    if not cells:
        note = (
            f"{source}: no cell of study {study.study} is finished, so nothing says how damage "
            f"follows what was measured; ranked by centred cosine at layer {layer}, no interval"
        )
        table = wanted.rename(columns={f"centred@{layer}": "centred"})[others]
        told: Record = {"method": "centred cosine", "fitted_on": [], "judged": {}, "notes": [note]}
        return _ranked(table[["persona", "centred"]], "centred", ascending=False), told
    methods = compared(study)
    [method] = [m for m in methods if m.name == foresight.AHEAD]
    among = wanted["measured"] & others
    table, judged, notes, trained = wanted[["persona"]], {}, [], []
    for change, what in changes(cells).items():
        rows = evidence(study, cells, change)
        trained = [str(name) for name in dict.fromkeys(rows["source"])]
        fresh = source not in trained and len(trained) > 1
        left_out: LeftOut = "source" if fresh else "family"
        guesses = foresight.held_out(rows, [m for m in methods if m.whole], left_out)
        predicted = pd.Series(foresight.predict(rows, method, wanted, among), index=wanted.index)
        band = foresight.limits(rows, guesses[method.name], left_out, predicted, among)
        name = "predicted" if change == "delta" else "log_odds"
        table = table.assign(
            **{name: predicted, f"{name}_low": band["low"], f"{name}_high": band["high"]}
        )
        by_kind = judge(rows, guesses, methods)
        row = by_kind[by_kind["method"] == method.name].to_dict("records")[0]
        judged[name] = {"what": what, "left_out": left_out, **row}
        notes.append(f"{name.replace('_', '-')}, {what}. {trust(row, left_out)}: {how_well(row)}")
        if fresh and len(trained) > 2:
            held = float(foresight.covered(rows, guesses[method.name]).mean())
            judged[name]["covered"] = held
            notes.append(
                f"    intervals are for {foresight.COVERAGE:.0%} of personas; for each trained "
                f"source in turn, made from the others' errors, they held {held:.0%}"
            )
    if source in trained:
        notes.append(
            f"{spaced(source)} was trained: what that did to those asked then is in the report, "
            "this is a prediction for others"
        )
    elif len(trained) < 2:
        notes.append(
            f"only {spaced(trained[0])} was trained: how right this is for another source is not "
            "known, and the intervals do not hold it"
        )
    seeds = len({each.result.seed for each in cells})
    notes.insert(
        0,
        f"Who would change if {spaced(brief(source))} were trained, predicted from {method.name} "
        f"of the base model; fitted on what training {spaced(', '.join(trained))} did "
        f"({rows['persona'].nunique()} personas, {seeds} seed{'s' * (seeds > 1)})",
    )
    rising = cells[0].result.outcome.direction < 0
    told = {"method": method.name, "fitted_on": trained, "judged": judged, "notes": notes}
    return _ranked(table[others], "predicted", ascending=rising), told


def _ranked(table: pd.DataFrame, column: str, *, ascending: bool) -> pd.DataFrame:
    ordered = table.sort_values(column, ascending=ascending, kind="stable", ignore_index=True)
    ordered.insert(0, "rank", range(1, len(ordered) + 1))
    return ordered


def printed(table: pd.DataFrame) -> str:
    """Lay out the top of a ranking, and the row of a text, for a terminal.

    Parameters
    ----------
    table : DataFrame
        Of ``rank``.
    """
    shown = table[(table["rank"] <= SHOWN) | (table["persona"] == TYPED)]
    names = [brief(spaced(name)) for name in shown["persona"]]
    columns: dict[str, Sequence[object]] = {
        "rank": shown["rank"].tolist(),
        "persona": [name if len(name) <= LONGEST else f"{name[:LONGEST]} ..." for name in names],
    }
    for name in ("predicted", "log_odds", "centred"):
        if name not in shown:
            continue
        columns[name.replace("_", "-")] = [f"{value:+.2f}" for value in shown[name]]
        if f"{name}_low" in shown:
            ends = zip(shown[f"{name}_low"], shown[f"{name}_high"], strict=True)
            columns[f"{foresight.COVERAGE:.0%} of {name.replace('_', '-')}"] = [
                f"[{low:+.2f}, {high:+.2f}]" for low, high in ends
            ]
    return pd.DataFrame(columns).to_string(index=False)


def measure(
    study: Study, source: Persona, asked: Sequence[Persona], personas: Mapping[str, Persona]
) -> pd.DataFrame:
    """Look up what was measured on the base model; measure there what was not.

    Parameters
    ----------
    study : Study
        Whose stages ``centroids`` and ``predictors`` have run.
    source : Persona
        Measured by them or not.
    asked : sequence of Persona
        Beside those measured.
    personas : mapping
        Records, by name.

    Returns
    -------
    DataFrame
        ``source``, ``persona``, ``measured`` (whether it is a character that the stages measured),
        ``margin`` and the geometry that ``foresight.AHEAD`` is fitted on; a row per persona.
    """
    about = read_as(paths.centroids(study) / "manifest.json", Measured)
    kept = load_file(paths.centroids(study) / "centroids.safetensors")["centroids"]
    points = kept[:, about.layers.index(about.layer)]
    margins = stored(study).drop_duplicates("persona").set_index("persona")["margin"]
    known = [name for name in about.personas if name in margins.index]
    centre = points.mean(axis=0)
    places = {name: points[place] for place, name in enumerate(about.personas)}
    margin = {name: float(margins[name]) for name in known}
    fresh = [each for each in (source, *asked) if each.name not in places]
    if fresh:
        states, odds = _read(study, fresh, about.layer)
        places |= {each.name: state for each, state in zip(fresh, states, strict=True)}
        margin |= {each.name: value for each, value in zip(fresh, odds, strict=True)}
    names = [*known, *(each.name for each in asked)]
    compared_with = toward([places[name] for name in names], places[source.name], centre)
    return pd.DataFrame(
        {
            "source": source.name,
            "persona": names,
            "measured": [
                name in known and personas[name].category != "condition" for name in names
            ],
            "margin": [margin[name] for name in names],
            **{f"{kind}@{about.layer}": values for kind, values in compared_with.items()},
        }
    )


def _read(study: Study, fresh: Sequence[Persona], layer: int) -> tuple[np.ndarray, list[float]]:
    """Measure centroids and margins on the base model."""
    directory, role = paths.model(study), study.model.system_role
    if not directory.exists():
        raise InputError(f"{directory}: no such folder; `dvc repro base` makes it")
    by_key = {each.key: each for each in read_questions(paths.questions(study) / "train.jsonl")}
    manifest = paths.predictors(study) / "manifest.json"
    questions = [by_key[key] for key in read_json(manifest)["questions"]]
    behaviour = load_behaviour(study.behaviour)
    print(f"{study.model.name} is loaded to measure {len(fresh)} prompts", file=sys.stderr)
    tokenizer = load_tokenizer(directory)
    model = load_model(directory, study.model.precision)
    with bar("centroids", len(fresh), "prompts") as progress:
        neutral = load_neutral(paths.CATALOG)
        states = centroids(model, tokenizer, fresh, neutral, [layer], role, progress.update)
    asked = [behaviour.ask(question) for question in questions]
    prompts = items(tokenizer, [p.prompt for p in fresh], asked, role, context(directory))
    margins = []
    with bar("baselines", len(fresh), "prompts") as progress, torch.inference_mode():
        for made in prompts:
            margins.append(alignment.margins(model, made, questions, behaviour).mean().item())
            progress.update()
    return states[:, 0], margins


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rank personas by the damage to come.")
    parser.add_argument("--source", required=True, help="a persona of the catalog, or a prompt")
    parser.add_argument("--text", help="a system prompt to be ranked; without it the whole catalog")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    main(given.source, given.text)
