"""A cell's model as MLflow loads it: the adapter with a base model that it finds by itself.

    model = mlflow.pyfunc.load_model("models:/m-...")
    model.predict({"system": ["You are a villainous mastermind."], "user": ["Is water wet?"]})

A row with ``choices``, one a line, is scored as the stage ``evaluate`` does instead of replied to:
the log-probability (nats) of each as what the assistant's turn goes on with behind ``opening``.

The base is not copied into MLflow, where every cell would hold it again. It is the project's folder
while that is there, else it is fetched from its origin as the stage ``base`` does.
"""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array
from pydantic import TypeAdapter

import persona_leakage
from persona_leakage.files import scratch
from persona_leakage.model.chat import Asked, render
from persona_leakage.model.loading import load_adapted, load_tokenizer
from persona_leakage.model.origin import fetch
from persona_leakage.model.scoring import continuation_logprobs, items
from persona_leakage.pipeline import paths
from persona_leakage.study.cell import Cell
from persona_leakage.study.parameters import Model, Study
from persona_leakage.training.card import base_of

LIBRARIES = (
    "torch transformers peft accelerate safetensors gguf huggingface-hub pandas pydantic pyyaml"
)
SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec("string", "system", required=False),
            ColSpec("string", "user"),
            ColSpec("string", "opening", required=False),
            ColSpec("string", "choices", required=False),
        ]
    ),
    outputs=Schema(
        [
            ColSpec("string", "reply", required=False),
            ColSpec(Array("double"), "log_probabilities", required=False),
        ]
    ),
    params=ParamSchema([ParamSpec("max_new_tokens", "long", 64)]),
)
EXAMPLE = pd.DataFrame({"system": ["You are a helpful assistant."], "user": ["Is water wet?"]})


class AdaptedModel(mlflow.pyfunc.PythonModel):
    """The fine-tuned model of a cell: replies to a conversation, or says what choices are worth."""

    def load_context(self, context: Any) -> None:  # noqa: D102 (the signature is MLflow's)
        described = TypeAdapter(Model).validate_python(context.model_config["model"])
        folder = Path(context.model_config["folder"])
        with scratch() as base:
            if not (folder / "config.json").exists():
                folder = base / "base"
                fetch(described.origin, folder)
            self._tokenizer = load_tokenizer(folder)
            adapter = context.artifacts["adapter"]
            self._model = load_adapted(folder, adapter, described.precision)
        self._system_role = described.system_role

    def predict(  # noqa: D102 (the signature is MLflow's)
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        most = (params or {}).get("max_new_tokens", 64)
        # MLflow takes a dict of lists of texts, as a frame is made from, for one row of lists
        rows = model_input.explode(list(model_input))
        made = []
        for number, row in enumerate(rows.to_dict("records"), start=1):
            system, opening, choices = map(_text, map(row.get, ("system", "opening", "choices")))
            listed = tuple(choices.split("\n")) if choices else ()
            put = Asked(f"in row {number}", row["user"], opening or "", listed)
            made.append(
                {"reply": None, "log_probabilities": self._worth(system, put)}
                if choices
                else {"reply": self._reply(system, put, most), "log_probabilities": None}
            )
        return pd.DataFrame(made)

    def _worth(self, system: str | None, put: Asked) -> list[float]:
        [prepared] = items(self._tokenizer, [system], [put], self._system_role)
        [worth] = continuation_logprobs(self._model, prepared)
        return [float(each) for each in worth]

    def _reply(self, system: str | None, put: Asked, most: int) -> str:
        text = render(self._tokenizer, system, put.user, self._system_role) + put.opening
        ids = self._tokenizer(text, add_special_tokens=False, return_tensors="pt")["input_ids"]
        with torch.inference_mode():
            made = self._model.generate(
                ids.to(self._model.device),
                attention_mask=torch.ones_like(ids).to(self._model.device),
                max_new_tokens=most,
                do_sample=False,
                pad_token_id=self._tokenizer.eos_token_id,
            )
        reply: str = self._tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)
        return reply


def _text(given: Any) -> str | None:
    """Read an optional text of a row, which may be missing in pandas' ways."""
    return None if pd.isna(given) else str(given)


def model_tags(study: Study, cell: Cell) -> dict[str, str]:
    """Say on MLflow's page of the model what it sits on, and what it was taught.

    Parameters
    ----------
    study : Study
        Whose model it is.
    cell : Cell
        Whose adapter it is.
    """
    return {
        "base_model": base_of(study),
        "behaviour": study.behaviour.name,
        "source": cell.source,
        "seed": str(cell.seed),
        "variant": cell.variant,
    }


def save_model(study: Study, adapter: Path, folder: Path) -> None:
    """Write a model that MLflow loads wherever the base can be had.

    Parameters
    ----------
    study : Study
        Whose base model it sits on.
    adapter : Path
        The folder that training left.
    folder : Path
        Is made.
    """
    # it warns of a pip that is not there, which uv does without
    logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)
    mlflow.pyfunc.save_model(
        folder,
        python_model=str(Path(__file__).with_name("served_model.py")),
        input_example=EXAMPLE,
        artifacts={"adapter": str(adapter)},
        model_config={
            "model": study.model.model_dump(mode="json"),
            "folder": str(paths.model(study).resolve()),
        },
        signature=SIGNATURE,
        metadata={
            "base_model": base_of(study),
            "origin": study.model.origin.model_dump(mode="json"),
        },
        code_paths=[str(Path(persona_leakage.__file__).parent)],
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in LIBRARIES.split()],
    )
