"""What the study of ``params.yaml`` will cost, before it starts: cells, texts, minutes, disk.

    python -m persona_leakage.pipeline.cost

Tokens are estimated from the length of the texts. Minutes come from the rates that MLflow holds of
earlier cells of the same model; where there are none, nothing is guessed. Only the catalog, the
questions and the store are read: no model, no network.
"""

import math
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open

from persona_leakage.behaviours.behaviour import load_behaviour
from persona_leakage.data.catalog import Persona, load_personas
from persona_leakage.data.persona_sets import measured_personas
from persona_leakage.data.questions import Question
from persona_leakage.errors import command
from persona_leakage.pipeline import paths
from persona_leakage.pipeline.questions import at_hand
from persona_leakage.study.parameters import Study, load_study

LETTERS = 4  # of a text, per token: what English takes in the vocabularies of these models
TEMPLATE = 12  # tokens that a chat template adds to a conversation of two turns
RATES = ("train", "score")
# of what a cell leaves, in outputs/, in DVC's cache, and in MLflow's store or beside other scores
COPIES = 3
ANSWER = 50  # bytes of one in a file of scores
STORE = Path("mlflow.db")  # of ``tracking.store``, which would make it
EMBEDDINGS = ("embed", "lm_head", "wte", "wpe")  # what a model calls what gets no adapter


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

    @property
    def left(self) -> int:
        """Cells that are not finished."""
        return self.cells - self.finished

    @property
    def asked(self) -> int:
        """How often everyone will be asked: by the base model once, and by each cell left."""
        return self.left + (0 if self.finished else 1)

    def minutes(self, rates: Mapping[str, float]) -> float | None:
        """Estimate the minutes that are left; ``None`` where a rate is missing.

        Parameters
        ----------
        rates : mapping
            Tokens per second: ``train`` and ``score``.
        """
        if any(not rates.get(name) for name in RATES if name == "score" or self.train_tokens):
            return None
        seconds = self.left * self.train_tokens / rates["train"] if self.train_tokens else 0.0
        return (seconds + self.asked * self.score_tokens / rates["score"]) / 60

    def disk(self, adapter: int) -> int:
        """Estimate the bytes that the cells left will add, with their copies.

        Parameters
        ----------
        adapter : int
            Bytes of one.
        """
        answers = self.asked * self.personas * self.questions
        return COPIES * (self.left * adapter + answers * ANSWER)


def adapter_bytes(directory: Path, rank: int) -> int | None:
    """Estimate the size of an adapter; ``None`` before the model is here.

    Every matrix of the decoder gets two of float32: ``rank * (in + out)`` numbers.

    Parameters
    ----------
    directory : Path
        Of the base model.
    rank : int
        ``train.lora.r`` of the study.
    """
    files = sorted(directory.glob("*.safetensors"))
    total = 0
    for file in files:
        with safe_open(file, "np") as tensors:
            shapes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118
        total += sum(
            sum(shape)
            for name, shape in shapes.items()
            if len(shape) == 2 and not any(part in name for part in EMBEDDINGS)
        )
    return 4 * rank * total if files else None


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


def rates_of(study: Study) -> dict[str, float]:
    """Look up how fast earlier cells of this model were; empty where MLflow has none.

    Parameters
    ----------
    study : Study
        Whose model and precision count.
    """
    if "MLFLOW_TRACKING_URI" not in os.environ and not STORE.exists():
        return {}
    # here, since it takes longer to import than all the rest to compute
    from mlflow.tracking import MlflowClient

    from persona_leakage.pipeline.tracking import store

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


def time_left(cost: Cost, rates: Mapping[str, float]) -> str:
    """Say how long the cells that are left take.

    Parameters
    ----------
    cost : Cost
        Of ``cost``.
    rates : mapping
        Of ``rates_of``.
    """
    minutes = cost.minutes(rates)
    if cost.finished == cost.cells:
        return "Nothing is left to compute."
    if minutes is None:
        return "How long it takes is known after the first cell: none of this model is here yet."
    if minutes < 100:
        return f"About {max(minutes, 1):.0f} minutes at the rates of earlier cells."
    return f"About {minutes / 60:.0f} hours at the rates of earlier cells."


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
    free = shutil.disk_usage(".").free / 1e9
    begins = f"trains on {cost.examples:,} conversations (about {cost.train_tokens:,} tokens)"
    return (
        f"{study.study}: {cost.cells} cell{'s' * (cost.cells > 1)}, {cost.finished} of them "
        f"finished; each {begins if cost.examples else 'takes an adapter that is given'}, then "
        f"asks {cost.personas} personas {cost.questions} questions (about {cost.score_tokens:,} "
        f"tokens). {time_left(cost, rates)} {free:.0f} GB of disk are free."
    )


def finished(study: Study) -> int:
    """Count the cells of a study that are analysed.

    Parameters
    ----------
    study : Study
        Any.
    """
    return sum((paths.analysis(study, cell) / "result.json").exists() for cell in study.cells)


def of_study(study: Study) -> Cost | None:
    """Add up what a study takes; ``None`` before the questions of the hub are here.

    Parameters
    ----------
    study : Study
        Any.

    Raises
    ------
    InputError
        The study names a persona that the catalog does not have.
    """
    catalog = load_personas(paths.AUTHORED)
    personas = [catalog[name] for name in measured_personas(study, catalog)]
    questions = at_hand(study)
    return None if questions is None else cost(study, personas, questions[1], finished(study))


@command
def main() -> None:
    """Print it."""
    study = load_study()
    found = of_study(study)
    if found is None:
        print(
            f"{study.study}: {len(study.cells)} cells, {finished(study)} of them finished; how "
            "much is known once `dvc repro questions` has fetched the questions."
        )
    else:
        print(sentences(study, found, rates_of(study)))


if __name__ == "__main__":
    main()
