"""What is shown and recorded of a run: nothing here changes a byte of what a stage writes."""

from typing import ClassVar

from pydantic import Field

from tinyllm.base.section import Section


class DisplayConfig(Section):
    """What a person sees of a run while it goes on."""

    section: ClassVar[str] = "display"
    affects_outputs: ClassVar[bool] = False

    log_interval: int = Field(10, ge=1, description="steps between logged training losses")
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
