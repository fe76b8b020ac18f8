"""Every persona times every question: the table of scores that all statistics start from."""

from collections.abc import Mapping, Sequence

import pandas as pd

from persona_leakage.catalog import Persona
from persona_leakage.errors import InputError
from persona_leakage.model import CausalLM
from persona_leakage.params import Neighbourhood, Study
from persona_leakage.progress import bar
from persona_leakage.prompts import Tokenizer
from persona_leakage.questions import Question
from persona_leakage.scoring import choice_scores


def evaluate(
    model: CausalLM,
    tokenizer: Tokenizer,
    personas: Sequence[Persona],
    questions: Sequence[Question],
    study: Study,
) -> pd.DataFrame:
    """Score every choice of every question under every persona.

    Returns
    -------
    DataFrame
        One row a (persona, question): ``persona``; ``question`` (key), ``benchmark``; ``answer``,
        ``chosen`` (indices of the right and of the highest-scored choice); ``correct`` (bool);
        ``scores`` (list of float32, one a choice: see ``scoring.choice_scores``).

    Raises
    ------
    InputError
        There is no question to ask.
    """
    if not questions:
        raise InputError(
            "outputs: the eval set is empty; lower questions.train_fraction or name a benchmark in "
            "questions.evaluate"
        )
    frames = []
    with bar("scoring", len(personas) * len(questions), "questions") as progress:
        for persona in personas:
            scores = choice_scores(
                model,
                tokenizer,
                persona.prompt,
                questions,
                study.scoring,
                study.model.system_role,
                progress.update,
            )
            chosen = [int(values.argmax()) for values in scores]
            frames.append(
                pd.DataFrame(
                    {
                        "persona": persona.name,
                        "question": [question.key for question in questions],
                        "benchmark": [question.benchmark for question in questions],
                        "answer": [question.answer for question in questions],
                        "chosen": chosen,
                        "correct": [
                            choice == question.answer
                            for choice, question in zip(chosen, questions, strict=True)
                        ],
                        "scores": scores,
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


def chosen_personas(
    study: Study, personas: Mapping[str, Persona], similarity: pd.DataFrame | None = None
) -> list[Persona]:
    """Resolve ``personas`` of a study to who is evaluated, in the order of the catalogue.

    ``core``: the eleven and the conditions. ``full``: the whole catalogue. A neighbourhood:
    for each source the nearest by raw cosine at the study's layer, and as controls the eleven, the
    conditions and the unrelated. A list: these, the conditions, the assistant and the sources.

    Raises
    ------
    InputError
        A source or a persona that the catalogue does not hold.
    """
    for source in study.sources:
        if source not in personas:
            raise InputError(
                f"params.yaml: sources names {source!r}, which is no persona of the catalogue; "
                "correct it or add a line to catalog/personas.yaml"
            )
    wanted = set(study.sources)
    match study.personas:
        case "full":
            wanted |= set(personas)
        case "core":
            wanted |= {p.name for p in personas.values() if p.category in ("core", "condition")}
        case Neighbourhood(neighbours=count):
            assert similarity is not None, "the neighbourhood is read off the similarity table"
            controls = ("core", "condition", "unrelated")
            wanted |= {p.name for p in personas.values() if p.category in controls}
            for source in study.sources:
                others = similarity[
                    (similarity["source"] == source) & (similarity["persona"] != source)
                ]
                wanted |= set(others.nlargest(count, "raw")["persona"])
        case names:
            for name in names:
                if name not in personas:
                    raise InputError(
                        f"params.yaml: personas names {name!r}, which is no persona of the "
                        "catalogue; correct it or add a line to catalog/personas.yaml"
                    )
            conditions = {p.name for p in personas.values() if p.category == "condition"}
            wanted |= {*names, *conditions, "assistant"}
    return [persona for persona in personas.values() if persona.name in wanted]
