"""The file that MLflow copies into a logged model and runs to load it; see ``served``."""

from mlflow.models import set_model

from persona_leakage.pipeline.served import AdaptedModel

set_model(AdaptedModel())
