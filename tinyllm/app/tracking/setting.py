"""The section `tracking` of params.yaml, for commands that are no stages."""

from pathlib import Path

from tinyllm.app.config import TrackingConfig
from tinyllm.app.params import load_params


def tracking_config() -> TrackingConfig:
    """The section `tracking` of params.yaml, or the defaults.

    Raises:
        ConfigError: params.yaml cannot be used.
    """
    path = Path("params.yaml")
    section = load_params(path)["tracking"] if path.is_file() else TrackingConfig()
    assert isinstance(section, TrackingConfig)  # noqa: S101 - for the type checker
    return section
