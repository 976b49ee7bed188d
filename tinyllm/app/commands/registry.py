"""Shared by the commands on the registry: its name and its errors."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

from tinyllm.app.config import TrackingConfig
from tinyllm.app.params import load_params
from tinyllm.base.errors import TinyLLMError


def tracking_config() -> TrackingConfig:
    """The section `tracking` of params.yaml, or the defaults."""
    path = Path("params.yaml")
    section = load_params(path)["tracking"] if path.is_file() else TrackingConfig()
    assert isinstance(section, TrackingConfig)  # noqa: S101 - for the type checker
    return section


def name_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """The option `--name`: the registered model."""
    text = "Registered model.  [default: tracking.registered_model]"
    return click.option("--name", default=lambda: tracking_config().registered_model, help=text)(
        command
    )


@contextlib.contextmanager
def registry(name: str) -> Iterator[Any]:
    """Yield MLflow's client; its errors become one sentence.

    Raises:
        TinyLLMError: the registry does not answer, or has no such model.
    """
    from tinyllm.app.tracking.reasons import reason
    from tinyllm.app.tracking.store import connect, shown_uri

    try:
        client = connect()
        client.get_registered_model(name)
        yield client
    except TinyLLMError:
        raise
    except Exception as error:
        if getattr(error, "error_code", "") == "RESOURCE_DOES_NOT_EXIST":
            raise TinyLLMError(
                f"The registry at {shown_uri()} has no such model ({reason(error)}); 'dvc repro' "
                f"registers one."
            ) from None
        raise TinyLLMError(
            f"The registry at {shown_uri()} does not do that: {reason(error)}."
        ) from None
