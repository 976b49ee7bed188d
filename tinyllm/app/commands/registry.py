"""Shared by the commands on the registry: its name and its errors."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import click

from tinyllm.app.tracking.setting import tracking_config
from tinyllm.base.errors import TinyLLMError


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
    from tinyllm.app.tracking.reasons import explained
    from tinyllm.app.tracking.store import connect_to_read, shown_uri

    client = connect_to_read()
    from mlflow.exceptions import MlflowException

    with explained(f"The registry at {shown_uri()} does not do that"):
        try:
            client.get_registered_model(name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise TinyLLMError(
                f"The registry at {shown_uri()} has no model '{name}'; 'make repro' "
                f"(or 'dvc repro') registers one."
            ) from None
        yield client
