"""Measure, on the base model alone, what may predict which personas a training will damage."""

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np
import pandas as pd
import torch

from persona_leakage.behaviours.behaviour import Behaviour, load_behaviour
from persona_leakage.data.catalog import Persona, load_neutral
from persona_leakage.data.persona_sets import Participants, by_name
from persona_leakage.data.questions import Question, read_questions
from persona_leakage.data.shuffle import shuffled
from persona_leakage.errors import command
from persona_leakage.files import Record, read_as, sha256, whole, write_json, write_parquet
from persona_leakage.geometry.centroids import last_token_states_and_logits
from persona_leakage.geometry.divergence import jensen_shannon, symmetric_kl
from persona_leakage.geometry.layers import moments, nearness
from persona_leakage.model.architecture import CausalLM
from persona_leakage.model.chat import RENDERED_DATE, SystemRole, Tokenizer, render
from persona_leakage.model.loading import context, device, load_model, load_tokenizer
from persona_leakage.model.scoring import items
from persona_leakage.model.tokens import tokenize
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.earlier import arithmetic, bring_back, computed_with, remember
from persona_leakage.progress import bar
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Study, load_study
from persona_leakage.training import alignment
from persona_leakage.training.contrast import build
from persona_leakage.training.rows import tokenised

# A draw of the training questions: the mean margin of a persona, and its gradient, are over these.
QUESTIONS = 32
# Examples of the source, and as many of the others, whose mean loss is differentiated.
EXAMPLES = 200
FEWER = 4  # on a processor, where gradients are dear, so many times fewer of both
# Parameters of the study that decide what comes out, beside its model's and its split's.
DECIDING = {"sources", "seeds", "behaviour", "contrast", "train"}


@command
def main() -> None:
    """Write ``table.parquet``, and ``manifest.json``: names, layers, questions.

    ``table.parquet`` has a row for each source of the study and each persona measured: ``source``,
    ``persona``, the columns of ``layers.nearness`` as ``raw@L`` and so on for each layer L but 0,
    where the last token is the same for all; ``js`` and ``symmetric_kl`` (nats, mean over the
    neutral prompts); ``margin`` (of the persona itself); ``gradient`` (first-order change of the
    margin per unit step on the source's part of the training set), ``gradient_cosine``,
    ``set_gradient``, ``set_gradient_cosine`` (on the whole set).
    """
    study = load_study()
    participants = read_as(paths.personas(study), Participants)
    personas = by_name(participants.personas)
    measured = [personas[name] for name in participants.measured]
    train = read_questions(paths.questions(study) / "train.jsonl")
    questions = shuffled(train, "predictors", study.questions.split_seed)[: affordable(QUESTIONS)]
    neutral, target = load_neutral(paths.CATALOG), paths.predictors(study)
    key = {
        "personas": participants.model_dump(mode="json"),
        "neutral": neutral,
        "train": sha256(paths.questions(study) / "train.jsonl"),
        "params": study.model_dump(mode="json", include=DECIDING),
        "stage": sha256(__file__),
        **arithmetic(study),
        **computed_with(study, ("behaviours", "data", "geometry", "model", "training")),
    }
    if bring_back(target, key):
        return
    directory = paths.model(study)
    tokenizer = load_tokenizer(directory)

    model = load_model(directory, study.model.precision)
    states, divergences = read_states(
        model, tokenizer, measured, study.sources, neutral, study.model.system_role
    )
    near = at_every_layer(states, [p.name for p in measured], study.sources)
    layers = list(range(1, states.shape[2]))
    del model, states

    aligned = align(study, tokenizer, measured, personas, train, questions)
    table = near.join(divergences).join(aligned)
    with whole(target) as folder:
        folder.mkdir()
        write_parquet(folder / "table.parquet", table.astype(np.float32).reset_index())
        write_json(
            folder / "manifest.json",
            {
                "personas": [persona.name for persona in measured],
                "sources": study.sources,
                "layers": layers,
                "questions": [question.key for question in questions],
                "seed": study.seeds[0],
                "rendered_date": RENDERED_DATE.isoformat(),
            },
        )
    remember(target, key)


@torch.inference_mode()
def read_states(
    model: CausalLM,
    tokenizer: Tokenizer,
    personas: Sequence[Persona],
    sources: Sequence[str],
    neutral: Sequence[str],
    system_role: SystemRole,
) -> tuple[torch.Tensor, pd.DataFrame]:
    """Read every persona's states and compare its next token with the sources'.

    Parameters
    ----------
    model : CausalLM
        The base model.
    tokenizer : transformers tokenizer
        The model's own.
    personas : sequence of Persona
        The sources among them.
    sources : sequence of str
        Names.
    neutral : sequence of str
        Questions that say nothing of any persona.
    system_role : {"template", "merge"}
        See ``chat.render``.

    Returns
    -------
    tuple of Tensor and DataFrame
        States (personas, prompts, blocks + 1, hidden), float32, in memory; by source and persona
        ``js`` and ``symmetric_kl``, the mean over the prompts of the divergence of the next token.
    """

    def read(persona: Persona) -> tuple[torch.Tensor, torch.Tensor]:
        texts = [render(tokenizer, persona.prompt, text, system_role) for text in neutral]
        states, logits = last_token_states_and_logits(model, tokenize(tokenizer, texts))
        return states.cpu(), logits.log_softmax(dim=-1)

    of_sources = {p.name: read(p)[1] for p in personas if p.name in sources}
    everything, rows = [], {}
    with bar("states", len(personas), "personas") as progress:
        for persona in personas:
            states, logprobs = read(persona)
            everything.append(states)
            for source, other in of_sources.items():
                rows[source, persona.name] = {
                    "js": jensen_shannon(other, logprobs).mean().item(),
                    "symmetric_kl": symmetric_kl(other, logprobs).mean().item(),
                }
            progress.update()
    return torch.stack(everything), _by_pair(rows)


def at_every_layer(
    states: torch.Tensor, names: Sequence[str], sources: Sequence[str]
) -> pd.DataFrame:
    """Compare personas with sources at every layer but 0.

    Parameters
    ----------
    states : Tensor of shape (personas, prompts, blocks + 1, hidden)
        Of ``read_states``.
    names, sources : sequence of str
        See ``layers.nearness``.

    Returns
    -------
    DataFrame
        Columns ``raw@L`` and so on, by source and persona.
    """
    columns = []
    layers = range(1, states.shape[2])
    with bar("layers", len(layers), "layers") as progress:
        for layer in layers:
            here = states[:, :, layer].to(device())
            near = nearness(here, moments(here), names, sources)
            columns.append(near.add_suffix(f"@{layer}"))
            progress.update()
    return pd.concat(columns, axis=1)


def align(
    study: Study,
    tokenizer: Tokenizer,
    measured: Sequence[Persona],
    personas: Mapping[str, Persona],
    train: Sequence[Question],
    questions: Sequence[Question],
) -> pd.DataFrame:
    """Differentiate each persona's margin, and compare with what the sources' data would do.

    Parameters
    ----------
    study : Study
        Its recipe, its first seed, its behaviour.
    tokenizer : transformers tokenizer
        The model's own.
    measured : sequence of Persona
        Whose margins.
    personas : mapping
        Who can be taught, by name.
    train : sequence of Question
        What the training sets are made of.
    questions : sequence of Question
        What the margins are over.

    Returns
    -------
    DataFrame
        By source and persona ``margin``, ``gradient`` and so on, as in ``main``.
    """
    behaviour, role = load_behaviour(study.behaviour), study.model.system_role
    directory, seed = paths.model(study), study.seeds[0]
    model = alignment.untrained(directory, study.train, seed, study.model.precision)
    directions = {}
    with bar("sources", len(study.sources), "sources") as progress:
        for source in study.sources:
            directions[source] = source_directions(
                model, study, tokenizer, source, personas, train, behaviour
            )
            progress.update()
    asked = [behaviour.ask(question) for question in questions]
    prompts = items(tokenizer, [p.prompt for p in measured], asked, role, context(directory))
    rows: dict[tuple[str, str], Record] = {}
    with bar("gradients", len(measured), "personas") as progress:
        for persona, made in zip(measured, prompts, strict=True):
            margin, slope = alignment.margin_gradient(model, made, questions, behaviour)
            for source, (alone, together) in directions.items():
                rows[source, persona.name] = {
                    "margin": margin,
                    "gradient": -(alone @ slope).item(),
                    "gradient_cosine": -_cosine(alone, slope),
                    "set_gradient": -(together @ slope).item(),
                    "set_gradient_cosine": -_cosine(together, slope),
                }
            progress.update()
    return _by_pair(rows)


def source_directions(
    model: CausalLM,
    study: Study,
    tokenizer: Tokenizer,
    source: str,
    personas: Mapping[str, Persona],
    train: Sequence[Question],
    behaviour: Behaviour,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradients of the loss on the source's part of its contrastive set, and on the whole of it.

    Parameters
    ----------
    model : CausalLM
        Of ``alignment.untrained``.
    study : Study
        Its design and its first seed.
    tokenizer : transformers tokenizer
        The model's own.
    source : str
        Trained or not.
    personas : mapping
        See ``contrast.build``.
    train : sequence of Question
        Likewise.
    behaviour : Behaviour
        Likewise.
    """
    cell = Cell(source, study.seeds[0], "contrastive")
    examples = build(study.contrast, cell, personas, train, behaviour)
    prepare = partial(
        tokenised,
        tokenizer=tokenizer,
        max_length=study.train.max_length,
        system_role=study.model.system_role,
    )
    gradients, shares = [], []
    for wanted in (True, False):
        part = [example for example in examples if (example.part == "source") == wanted]
        # the set is shuffled: its first ones are a draw
        rows = prepare(part[: affordable(EXAMPLES)])
        gradients.append(alignment.loss_gradient(model, rows, study.train.batch_size))
        shares.append(len(part) / len(examples))
    return gradients[0], shares[0] * gradients[0] + shares[1] * gradients[1]


def affordable(count: int) -> int:
    """Return how many of so many gradients this machine is asked for, one at least.

    Parameters
    ----------
    count : int
        On an accelerator.
    """
    return count if device().type != "cpu" else max(1, count // FEWER)


def _cosine(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one @ other / (one.norm() * other.norm())).item()


def _by_pair(rows: Mapping[tuple[str, str], Record]) -> pd.DataFrame:
    index = pd.MultiIndex.from_tuples(list(rows), names=["source", "persona"])
    return pd.DataFrame(list(rows.values()), index=index)


if __name__ == "__main__":
    main()
