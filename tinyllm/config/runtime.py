"""How a stage runs on this machine: nothing here changes a byte of what it writes."""

from typing import ClassVar

from pydantic import Field

from tinyllm.config.base import Section


class RuntimeConfig(Section):
    """Progress and working checkpoints."""

    section: ClassVar[str] = "runtime"
    affects_outputs: ClassVar[bool] = False

    log_interval: int = Field(10, ge=1, description="steps between logged training losses")
    checkpoint_interval: float = Field(
        20.0, ge=0, description="seconds between working checkpoints; 0: after every step"
    )
    progress: bool = Field(True, description="show a progress bar")


class TrackingConfig(Section):
    """Where runs are recorded; the store itself is named by MLFLOW_TRACKING_URI."""

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
