"""Scores on disk: one file per persona, computed once for whatever it is computed from.

Every file carries the hash of all that made it, and is kept under that hash, too: see ``scored``.
So a stage that scores can be stopped at any moment and goes on with the next persona; a persona
that is added to a finished study is the only one scored; and who goes back to settings that were
computed before, or to another study of the same base model, waits for nothing.
"""

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import tee
from pathlib import Path

import persona_leakage
from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.behaviours.evaluation import score_table
from persona_leakage.data.catalog import Persona
from persona_leakage.data.questions import Question
from persona_leakage.errors import InputError
from persona_leakage.files import Record, sweep
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.chat import Tokenizer
from persona_leakage.model.loading import dtype
from persona_leakage.model.processes import devices, scorer
from persona_leakage.model.scoring import items
from persona_leakage.model.self_check import check_fast_path
from persona_leakage.pipeline.score_files import file_of, key_of, write_file
from persona_leakage.pipeline.scored import bucket, keep, share
from persona_leakage.progress import bar
from persona_leakage.study.parameters import Study
from persona_leakage.study.results import checked, scores_schema


def score_personas(
    folder: Path,
    personas: Sequence[Persona],
    questions: Sequence[Question],
    study: Study,
    weights: Record,
    tokenizer: Tokenizer,
    load: Callable[[], CausalLM],
    context: int | None,
) -> int:
    """Score the personas that have no valid file in ``folder``; remove files of nobody's.

    Parameters
    ----------
    folder : Path
        Filled with ``<persona>.parquet``: see ``evaluation.score_table``. What is kept of them
        is taken; what is scored now is kept.
    personas : sequence of Persona
        Those to be scored, and all that the folder may hold.
    questions : sequence of Question
        Asked of each.
    study : Study
        Its behaviour and its model's settings decide what is scored.
    weights : dict
        Hashes of the weights that ``load`` loads.
    tokenizer : transformers tokenizer
        The model's own.
    load : callable
        Loads the model onto the current device; not called when there is nothing to score.
    context : int or None
        Tokens that the model reads at most: see ``loading.context``.

    Returns
    -------
    int
        Tokens scored now.

    Raises
    ------
    InputError
        There is no question to ask, or the model cannot be scored the fast way.
    """
    if not questions:
        raise InputError(
            "outputs: the eval set is empty; lower questions.train_fraction or name a benchmark in "
            "questions.evaluate"
        )
    behaviour = load_behaviour(study.behaviour)
    shared = {
        "questions": [asdict(question) for question in questions],
        "behaviour": study.behaviour.model_dump(),
        "system_role": study.model.system_role,
        "precision": str(dtype(study.model.precision)),
        "weights": weights,
        "code": _code_digest(),
    }
    digest = hashlib.sha256(json.dumps(shared, sort_keys=True).encode())
    keys = {}
    for persona in personas:
        each = digest.copy()
        each.update(json.dumps([persona.name, persona.prompt]).encode())
        keys[persona.name] = each.hexdigest().encode()
    folder.mkdir(parents=True, exist_ok=True)
    sweep(folder)
    for file in list(folder.iterdir()):
        if file.name.startswith("."):  # half-written: of another worker
            continue
        if file.suffix != ".parquet" or key_of(file) != keys.get(file.stem):
            file.unlink(missing_ok=True)
    shared_with = bucket()
    share({key.decode(): file_of(folder, name) for name, key in keys.items()}, shared_with)
    missing = [persona for persona in personas if not file_of(folder, persona.name).exists()]
    if not missing:
        return 0
    prompts = [behaviour.ask(question) for question in questions]
    schema = scores_schema(behaviour.outcome)
    tokens = 0
    with (
        scorer(functools.partial(_load_checked, load, tokenizer), devices()) as score,
        bar("scoring", len(missing) * len(questions), "questions") as progress,
    ):
        everyone, sent = tee(
            items(
                tokenizer,
                [persona.prompt for persona in missing],
                prompts,
                study.model.system_role,
                context,
            )
        )
        scored = score(sent, progress.update)
        for persona, made, logprobs in zip(missing, everyone, scored, strict=True):
            table = score_table(persona.name, questions, made, logprobs, behaviour)
            tokens += int(table["tokens"].sum())
            file = file_of(folder, persona.name)
            write_file(file, checked(table, schema, file), keys[persona.name])
            keep(file, keys[persona.name].decode(), shared_with)
    return tokens


def _load_checked(load: Callable[[], CausalLM], tokenizer: Tokenizer) -> CausalLM:
    model = load()
    check_fast_path(model, tokenizer)
    return model


def _code_digest() -> str:
    """Hash the code that makes scores: the rooms that a score passes through."""
    root = Path(persona_leakage.__file__).parent
    digest = hashlib.sha256()
    for room in ("behaviours", "model"):
        for file in sorted((root / room).glob("*.py")):
            digest.update(file.read_bytes())
    return digest.hexdigest()
