"""What the study of ``params.yaml`` will cost, before it starts: cells, texts, minutes, disk.

    python -m persona_leakage.pipeline.cost

Tokens are estimated from the length of the texts. Minutes come from the rates that MLflow holds of
earlier cells of the same model; where there are none, nothing is guessed. Only the catalog, the
questions and the store are read: no model, no network.
"""

import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mlflow.tracking import MlflowClient

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.benchmarks import load_benchmark, local_files
from persona_leakage.data.catalog import Persona, load_personas
from persona_leakage.data.persona_sets import measured_personas
from persona_leakage.data.questions import Question, read_questions
from persona_leakage.data.split import at_most, split
from persona_leakage.errors import command
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.tracking import store
from persona_leakage.study.parameters import Study, load_study

CATALOG = Path("catalog")  # a fresh clone has no copy of it yet
LETTERS = 4  # of a text, per token: what English takes in the vocabularies of these models
TEMPLATE = 12  # tokens that a chat template adds to a conversation of two turns
RATES = ("train", "score")


@dataclass(frozen=True)
class Cost:
    """What a study takes.

    Attributes
    ----------
    cells, finished : int
        How many it has, and how many of them are analysed.
    personas, questions : int
        How many are asked what at most, once before training and once after each cell's.
    examples : int
        Conversations of a cell's training, every epoch counted; 0 where adapters are given.
    train_tokens, score_tokens : int
        Of one cell, estimated.
    """

    cells: int
    finished: int
    personas: int
    questions: int
    examples: int
    train_tokens: int
    score_tokens: int

    def minutes(self, rates: Mapping[str, float]) -> float | None:
        """Estimate the minutes that are left; ``None`` where a rate is missing.

        Parameters
        ----------
        rates : mapping
            Tokens per second: ``train`` and ``score``.
        """
        if any(not rates.get(name) for name in RATES if name == "score" or self.train_tokens):
            return None
        left = self.cells - self.finished
        asked = left + (0 if self.finished else 1)  # the base model is asked once
        seconds = left * self.train_tokens / rates["train"] if self.train_tokens else 0.0
        return (seconds + asked * self.score_tokens / rates["score"]) / 60


def cost(study: Study, personas: list[Persona], questions: list[Question], finished: int) -> Cost:
    """Add up what a study takes.

    Parameters
    ----------
    study : Study
        Whose cells are counted.
    personas : list of Persona
        Who is asked.
    questions : list of Question
        What each is asked.
    finished : int
        How many cells are analysed already.
    """
    behaviour, contrast = load_behaviour(study.behaviour), study.contrast
    system = _mean([persona.prompt or "" for persona in personas])
    turns = [behaviour.ask(question) for question in questions]
    turn = _mean([asked.user + asked.opening for asked in turns])
    endings = _mean(["".join(asked.continuations) for asked in turns])
    negatives = contrast.negatives
    number = len(negatives) if isinstance(negatives, list) else negatives
    examples = contrast.positives + number * contrast.per_negative
    examples = (examples + contrast.no_system + contrast.assistant) * study.train.epochs
    if study.train.adapters:  # then every cell has one
        examples = 0
    asked = len(personas) * len(questions)
    return Cost(
        cells=len(study.cells),
        finished=finished,
        personas=len(personas),
        questions=len(questions),
        examples=examples,
        train_tokens=math.ceil(examples * (TEMPLATE + (system + turn + endings / 4) / LETTERS)),
        score_tokens=math.ceil(asked * (TEMPLATE + (system + turn + endings) / LETTERS)),
    )


def _mean(texts: list[str]) -> float:
    return sum(map(len, texts)) / max(len(texts), 1)


def questions_of(study: Study) -> list[Question] | None:
    """Return the questions that everyone is asked; ``None`` before those of the hub are here.

    Parameters
    ----------
    study : Study
        Of ``params.yaml``.
    """
    design = study.questions
    made = paths.questions(study) / "evaluate.jsonl"
    if made.exists():
        return read_questions(made)
    asked: list[Question] = []
    for name in design.evaluate:
        snapshots = dict(design.snapshots)
        if name == "everyday":
            snapshots.setdefault(name, str(CATALOG / "questions.jsonl"))
        elif not local_files(name, snapshots):
            return None
        rows = load_benchmark(name, snapshots)
        if name in design.train:
            _, rows = split(rows, design.train_fraction, design.split_seed)
        most = design.max_evaluate
        most = most.get(name) if isinstance(most, dict) else most
        asked += at_most(rows, most, design.split_seed)
    return asked


def rates_of(study: Study) -> dict[str, float]:
    """Look up how fast earlier cells of this model were; empty where MLflow has none.

    Parameters
    ----------
    study : Study
        Whose model and precision count.
    """
    try:
        client = MlflowClient(store())
        runs = client.search_runs(
            [experiment.experiment_id for experiment in client.search_experiments()],
            f"params.`model.name` = '{study.model.name}' AND "
            f"params.`model.precision` = '{study.model.precision}'",
            max_results=50,
            order_by=["start_time DESC"],
        )
    except Exception:  # whatever a store comes up with: an estimate is no reason to stop
        return {}
    found: dict[str, float] = {}
    for run in runs:
        for name in RATES:
            rate = run.data.metrics.get(f"profile/{name}_tokens_per_second")
            if rate:
                found.setdefault(name, rate)
    return found


def sentences(study: Study, cost: Cost, rates: Mapping[str, float]) -> str:
    """Say what a study takes.

    Parameters
    ----------
    study : Study
        Whose name stands in front.
    cost : Cost
        Of ``cost``.
    rates : mapping
        Of ``rates_of``.
    """
    minutes = cost.minutes(rates)
    free = shutil.disk_usage(".").free / 1e9
    if cost.finished == cost.cells:
        time = "Nothing is left to compute."
    elif minutes is None:
        time = "How long it takes is known after the first cell: none of this model is here yet."
    elif minutes < 100:
        time = f"About {max(minutes, 1):.0f} minutes at the rates of earlier cells."
    else:
        time = f"About {minutes / 60:.0f} hours at the rates of earlier cells."
    begins = f"trains on {cost.examples:,} conversations (about {cost.train_tokens:,} tokens)"
    return (
        f"{study.study}: {cost.cells} cell{'s' * (cost.cells > 1)}, {cost.finished} of them "
        f"finished; each {begins if cost.examples else 'takes an adapter that is given'}, "
        f"then asks {cost.personas} personas {cost.questions} "
        f"questions (about {cost.score_tokens:,} tokens). {time} {free:.0f} GB of disk are free."
    )


@command
def main() -> None:
    """Print it."""
    study = load_study()
    finished = sum((paths.analysis(study, cell) / "result.json").exists() for cell in study.cells)
    catalog = load_personas(CATALOG)
    personas = [catalog[name] for name in measured_personas(study, catalog)]
    questions = questions_of(study)
    if questions is None:
        print(
            f"{study.study}: {len(study.cells)} cells, {finished} of them finished; "
            f"{len(personas)} personas are asked; how much is known once `dvc repro questions` has "
            "fetched the questions."
        )
        return
    print(sentences(study, cost(study, personas, questions, finished), rates_of(study)))


if __name__ == "__main__":
    main()
