"""Rank personas by the damage that training a source would do to them, before it is trained.

python -m persona_leakage.pipeline.predict --source pirate
python -m persona_leakage.pipeline.predict --source villain --text "You are a pirate."
"""

import argparse

import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

from persona_leakage.analysis import foresight
from persona_leakage.analysis.foresight import LeftOut
from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.catalog import Persona, load_neutral
from persona_leakage.data.persona_sets import Participants, by_name
from persona_leakage.data.questions import read_questions
from persona_leakage.errors import InputError, command
from persona_leakage.files import read_as, read_json
from persona_leakage.geometry.cosines import cosine_matrix
from persona_leakage.geometry.layers import moments, nearness
from persona_leakage.geometry.moments import gaussian, jeffreys
from persona_leakage.model.loading import context, load_model, load_tokenizer
from persona_leakage.model.scoring import items
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.foresight import (
    changes,
    compared,
    evidence,
    finished,
    stored,
    with_words,
)
from persona_leakage.pipeline.predictors import read_states, source_directions
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.training import alignment

TYPED = "(typed in)"
COVERAGE = 0.9
SHOWN = 25  # rows of the printed table


@command
def main(source: str, text: str | None) -> None:
    """Write the ranking as ``predictions/SOURCE.csv`` of ``paths.foresight``; print its top.

    Parameters
    ----------
    source : str
        A persona of the study, trained or not.
    text : str or None
        A system turn to be ranked among the personas.
    """
    study = load_study()
    personas = by_name(read_as(paths.personas(study), Participants).personas)
    if source not in personas or not personas[source].prompt:
        raise InputError(
            f"--source: {source!r} is no persona with a prompt in study {study.study}; name one of "
            "catalog/personas.yaml, or add it there"
        )
    if text is not None:
        personas[TYPED] = Persona(TYPED, "unrelated", None, text)
    wanted = with_words(measure(study, source, personas), personas)
    table, sentence = rank(study, wanted)
    path = paths.foresight(study).parent / "predictions" / f"{source}.csv"
    path.parent.mkdir(exist_ok=True)
    table.to_csv(path, index=False, float_format="%.4g", lineterminator="\n")
    shown = table.head(SHOWN)
    if text is not None:
        shown = pd.concat([shown, table[table["persona"] == TYPED]]).drop_duplicates()
    print(sentence)
    print(shown.to_string(index=False, float_format="%.2f"))
    print(f"all {len(table)}: {path}")


def rank(study: Study, wanted: pd.DataFrame) -> tuple[pd.DataFrame, str]:
    """Predict from all that is measured, by a fit of the finished cells of other sources.

    Parameters
    ----------
    study : Study
        Its finished cells are what the fit learns from.
    wanted : DataFrame
        Of ``with_words``, for one source.

    Returns
    -------
    tuple of DataFrame and str
        ``rank``, ``persona``; ``predicted`` (in the outcome's unit) and, where the cells have it,
        ``log_odds`` (of the right choice), each with ``_low`` and ``_high``; or ``centred``
        (cosine) where no cell is finished: the most damaged first. And how that was made, and how
        well it did on what it had not seen.
    """
    source = str(wanted["source"].iloc[0])
    layer = read_json(paths.centroids(study) / "manifest.json")["layer"]
    cells = finished(study)
    others = wanted["persona"] != source
    if not cells:
        table = wanted.rename(columns={f"centred@{layer}": "centred"})[others]
        sentence = (
            f"{source}: no cell of study {study.study} is finished, so nothing says how damage "
            f"follows what was measured; ranked by centred cosine at layer {layer}, no interval"
        )
        return _ranked(table[["persona", "centred"]], "centred", ascending=False), sentence
    table, sentences = wanted[["source", "persona"]], []
    for change, what in changes(cells).items():
        rows = evidence(study, cells, change)
        method = next(m for m in compared(study, rows) if m.name == foresight.EVERYTHING)
        fresh = source not in set(rows["source"]) and rows["source"].nunique() > 1
        left_out: LeftOut = "source" if fresh else "family"
        guesses = foresight.held_out(rows, [method], left_out)
        predicted = pd.Series(foresight.predict(rows, method, wanted), index=wanted.index)
        band = foresight.limits(rows, guesses[method.name], wanted["source"], predicted, COVERAGE)
        name = "predicted" if change == "delta" else "log_odds"
        table = table.assign(
            **{name: predicted, f"{name}_low": band["low"], f"{name}_high": band["high"]}
        )
        judged = foresight.judge(rows, guesses, method.name, seed=0).iloc[0]
        sentences.append(
            f"{name}: {what}; for a {left_out} left out of the fit R2 {judged['r2']:.2f} "
            f"[{judged['r2_low']:.2f}, {judged['r2_high']:.2f}], rho {judged['rho']:.2f} "
            f"[{judged['rho_low']:.2f}, {judged['rho_high']:.2f}]"
        )
        if fresh and rows["source"].nunique() > 2:
            held = foresight.covered(rows, guesses[method.name], COVERAGE).mean()
            sentences.append(
                f"its intervals are for {COVERAGE:.0%}; made from the other sources' errors alone "
                f"they held {held:.0%} of a source's personas"
            )
    trained = ", ".join(dict.fromkeys(rows["source"]))
    sentences.insert(0, f"{source}: from {method.name}; fitted on {trained}")
    rising = cells[0].result.outcome.direction < 0
    ranked = _ranked(table[others].drop(columns="source"), "predicted", ascending=rising)
    return ranked, "\n".join(sentences)


def _ranked(table: pd.DataFrame, column: str, *, ascending: bool) -> pd.DataFrame:
    ordered = table.sort_values(column, ascending=ascending, kind="stable", ignore_index=True)
    ordered.insert(0, "rank", range(1, len(ordered) + 1))
    return ordered


def measure(study: Study, source: str, personas: dict[str, Persona]) -> pd.DataFrame:
    """Look up what was measured for a source; measure what was not on the base model.

    Parameters
    ----------
    study : Study
        Whose stage ``predictors`` has run.
    source : str
        One of the personas.
    personas : dict
        Records, by name; with one ``TYPED``, it is measured, too.

    Returns
    -------
    DataFrame
        ``source``, ``persona`` and the columns that ``foresight.EVERYTHING`` is fitted on but
        words, a row per persona measured.
    """
    table = stored(study)
    known = table[table["source"] == source].reset_index(drop=True)
    typed = personas.get(TYPED)
    if len(known) and typed is None:
        return known
    measured = [personas[name] for name in dict.fromkeys(table["persona"])]
    directory, role = paths.model(study), study.model.system_role
    tokenizer = load_tokenizer(directory)
    people = [personas[source]] if len(known) else measured
    people = [*people, *([typed] if typed else [])]
    model = load_model(directory, study.model.precision)
    states, divergences = read_states(
        model, tokenizer, people, [source], load_neutral(paths.CATALOG), role
    )
    layer = read_json(paths.centroids(study) / "manifest.json")["layer"]
    if len(known):
        near = _near_text(study, source, layer, states[-1, :, layer])
    else:
        here = states[:, :, layer]
        names = [persona.name for persona in people]
        near = nearness(here, moments(here), names, [source]).add_suffix(f"@{layer}")
    del model, states
    slopes = _slopes(study, source, personas, tokenizer, [p.name for p in measured])
    fresh = near.join(divergences).join(slopes).reset_index()
    return pd.concat([known, fresh], ignore_index=True) if len(known) else fresh


def _near_text(study: Study, source: str, layer: int, states: torch.Tensor) -> pd.DataFrame:
    """Compare a text's states (prompts, hidden) with what is kept of the source and the others."""
    described = read_json(paths.centroids(study) / "manifest.json")
    kept = load_file(paths.centroids(study) / "centroids.safetensors")["centroids"]
    points = kept[:, described["layers"].index(layer)]
    row = described["personas"].index(source)
    own = states.mean(dim=0).numpy()
    everyone = np.vstack([points, own])
    about = read_json(paths.predictors(study) / "manifest.json")
    place, who = about["layers"].index(layer), about["personas"].index(source)
    fit = {
        name: values[who if name in ("means", "covariances") else place]
        for name, values in load_file(paths.predictors(study) / "moments.safetensors").items()
    }
    mean, covariance = gaussian((states.numpy() - fit["centre"]) @ fit["axes"].T)
    far = jeffreys(fit["means"][place], fit["covariances"][place], mean[None], covariance[None])
    near = {
        "raw": cosine_matrix(everyone, "raw")[row, -1],
        "centred": cosine_matrix(everyone, "centred")[row, -1],
        "distance": np.linalg.norm(own - points[row]),
        "kl": far[0],
    }
    index = pd.MultiIndex.from_tuples([(source, TYPED)], names=["source", "persona"])
    return pd.DataFrame([near], index=index).add_suffix(f"@{layer}")


def _slopes(
    study: Study,
    source: str,
    personas: dict[str, Persona],
    tokenizer: object,
    measured: list[str],
) -> pd.DataFrame:
    """First-order predictions: from the sketches of those measured, in full for a text."""
    train = read_questions(paths.questions(study) / "train.jsonl")
    behaviour = load_behaviour(study.behaviour)
    directory = paths.model(study)
    about = read_json(paths.predictors(study) / "manifest.json")
    model = alignment.untrained(directory, study.train, about["seed"], study.model.precision)
    alone, together = source_directions(model, study, tokenizer, source, personas, train, behaviour)
    kept = load_file(paths.predictors(study) / "gradients.safetensors")
    sketch = alignment.Sketch(len(alone), kept["sketches"].shape[1], model.device)
    rows = {}
    for name, direction in (("gradient", alone), ("set_gradient", together)):
        length = direction.norm()
        short = (sketch(direction) / length).cpu().numpy()
        cosine = kept["sketches"].astype(np.float32) @ short
        rows[name] = -cosine * kept["norms"] * length.item()
        rows[f"{name}_cosine"] = -cosine
    index = pd.MultiIndex.from_product([[source], measured], names=["source", "persona"])
    table = pd.DataFrame({"margin": kept["margins"], **rows}, index=index)
    if TYPED in personas:
        by_key = {question.key: question for question in train}
        questions = [by_key[key] for key in about["questions"]]
        asked = [behaviour.ask(question) for question in questions]
        prompts = items(
            tokenizer,
            [personas[TYPED].prompt],
            asked,
            study.model.system_role,
            context(directory),
        )
        margin, slope = alignment.margin_gradient(model, next(prompts), questions, behaviour)
        own = {"margin": margin}
        for name, direction in (("gradient", alone), ("set_gradient", together)):
            own[name] = -(direction @ slope).item()
            own[f"{name}_cosine"] = own[name] / (direction.norm() * slope.norm()).item()
        table.loc[(source, TYPED), list(own)] = list(own.values())
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Rank personas by the damage to come.")
    parser.add_argument("--source", required=True, help="a persona of the study, trained or not")
    parser.add_argument("--text", help="a system turn to be ranked among the personas")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    main(given.source, given.text)
