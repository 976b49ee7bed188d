"""How runs are displayed and recorded; changes no byte of what a stage writes."""

from typing import ClassVar

from pydantic import Field, ValidationInfo, field_validator

from tinyllm.app.tracking.names import name_problem
from tinyllm.base.section import Section


class DisplayConfig(Section):
    """What the user sees during a run."""

    section: ClassVar[str] = "display"
    affects_outputs: ClassVar[bool] = False

    log_interval: int = Field(10, ge=1, description="steps between logged training losses")
    progress: bool = Field(True, description="show a progress bar")


class TrackingConfig(Section):
    """How runs are recorded; MLFLOW_TRACKING_URI names the store."""

    section: ClassVar[str] = "tracking"
    affects_outputs: ClassVar[bool] = False

    tracking: bool = Field(True, description="record runs and models in MLflow")
    experiment: str = Field("tinyllm", min_length=1, description="MLflow experiment of the runs")
    registered_model: str = Field(
        "tinyllm", min_length=1, description="name of the exported model in the registry"
    )
    champion_margin: float = Field(
        0.005,
        ge=0,
        description="bits per character by which a model must beat the champion to replace it",
    )

    @field_validator("experiment", "registered_model")
    @classmethod
    def _is_a_name_in_mlflow(cls, name: str, info: ValidationInfo) -> str:
        """Refuse now what MLflow would refuse after hours of training."""
        if problem := name_problem(name, of_model=info.field_name == "registered_model"):
            raise ValueError(f"a name in MLflow {problem}")
        return name
