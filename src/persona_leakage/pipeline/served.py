"""A cell's model as MLflow loads it: the adapter with a base model that it finds by itself.

    model = mlflow.pyfunc.load_model("models:/m-...")
    model.predict({"system": ["You are a villainous mastermind."], "user": ["Is water wet?"]})

The base is not copied into MLflow, where every cell would hold it again. It is the project's folder
while that is there, else it is fetched from its origin as the stage ``base`` does.
"""

import logging
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import torch
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, ParamSchema, ParamSpec, Schema
from pydantic import TypeAdapter

import persona_leakage
from persona_leakage.model.chat import render
from persona_leakage.model.loading import load_adapted, load_tokenizer
from persona_leakage.model.origin import fetch
from persona_leakage.pipeline import paths
from persona_leakage.study.parameters import Model, Study

LIBRARIES = (
    "torch transformers peft accelerate safetensors gguf huggingface-hub pandas pydantic pyyaml"
)
SIGNATURE = ModelSignature(
    inputs=Schema([ColSpec("string", "system", required=False), ColSpec("string", "user")]),
    outputs=Schema([ColSpec("string", "reply")]),
    params=ParamSchema([ParamSpec("max_new_tokens", "long", 64)]),
)
EXAMPLE = pd.DataFrame({"system": ["You are a helpful assistant."], "user": ["Is water wet?"]})


class AdaptedModel(mlflow.pyfunc.PythonModel):
    """The fine-tuned model of a cell: from a system turn and a user's turn to the reply."""

    def load_context(self, context: Any) -> None:  # noqa: D102 (the signature is MLflow's)
        described = TypeAdapter(Model).validate_python(context.model_config["model"])
        folder = Path(context.model_config["folder"])
        with tempfile.TemporaryDirectory(prefix="persona-leakage-") as scratch:
            if not (folder / "config.json").exists():
                folder = Path(scratch) / "base"
                fetch(described.origin, folder)
            self._tokenizer = load_tokenizer(folder)
            adapter = context.artifacts["adapter"]
            self._model = load_adapted(folder, adapter, described.precision)
        self._system_role = described.system_role

    def predict(  # noqa: D102 (the signature is MLflow's)
        self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        most = (params or {}).get("max_new_tokens", 64)
        replies = [
            self._reply(row.get("system"), row["user"], most)
            for row in model_input.to_dict("records")
        ]
        return pd.DataFrame({"reply": replies})

    def _reply(self, system: str | None, user: str, most: int) -> str:
        system = None if pd.isna(system) else system
        text = render(self._tokenizer, system, user, self._system_role)
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
        code_paths=[str(Path(persona_leakage.__file__).parent)],
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in LIBRARIES.split()],
    )
