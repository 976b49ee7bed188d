"""`tinyllm serve`."""

import sys
from pathlib import Path

import click

from tinyllm.app.params import load_params
from tinyllm.app.tracking.setting import tracking_config
from tinyllm.base.command import Command, section_options
from tinyllm.base.cores import usable_cores
from tinyllm.base.environment import child_environment
from tinyllm.base.errors import TinyLLMError
from tinyllm.base.files import read_text
from tinyllm.base.params_file import parse_yaml
from tinyllm.inference.request import ServeConfig

# connections at once; who comes later is told to come again
_MOST_CONNECTIONS = 1000
# seconds that MLflow's server waits longer than the model works, so that the model's sentence wins
_GRACE = 10


@click.command(cls=Command)
@click.option(
    "--model",
    help="models:/NAME@ALIAS, models:/NAME/VERSION, or an export folder.  "
    "[default: the champion of tracking.registered_model]",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0: for other machines.")
@click.option("--port", type=click.IntRange(1, 65535), default=5001, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Processes.  [default: one for each usable core]"
)
@section_options(ServeConfig)
def serve(model: str | None, host: str, port: int, workers: int | None, serve: ServeConfig) -> None:
    r"""Serve a model over HTTP, by MLflow's server with limits, until Ctrl-C.

    \b
    tinyllm serve
    curl localhost:5001/invocations -H 'Content-Type: application/json' \
      -d '{"dataframe_records": [{"prompt": "O, "}], "params": {"temperature": 0.7, "seed": 1}}'

    `params` takes the options of `tinyllm generate`. Several records are continued together. GET
    /health answers once the model is there. The limits are those of the section serve of
    params.yaml, unless given here. When a client leaves, the work for it ends.
    """
    from tinyllm.app.child_server import check_port, keep_server

    check_port(host, port, f"choose another: tinyllm serve --port {port % 60000 + 1}")
    limits = _params().model_copy(update={k: getattr(serve, k) for k in serve.model_fields_set})
    if model is None:
        model = f"models:/{tracking_config().registered_model}@champion"
    folder = _find_mlflow_model(model)
    if not _keeps_limits(folder):
        click.echo(
            f"Warning: {model} was exported before there were limits, so only the size of a "
            f"request is limited; export it again for the others.",
            err=True,
        )
    workers = workers or usable_cores()
    command = [sys.executable, "-m", "uvicorn", "guard:app", "--host", host, "--port", str(port)]
    command += ["--app-dir", str(Path(__file__).parent.parent / "serving")]
    command += ["--workers", str(workers), "--log-level", "warning"]
    command += ["--limit-concurrency", str(_MOST_CONNECTIONS)]
    shown = f"[{host}]" if ":" in host else host
    click.echo(f"{model} at http://{shown}:{port}/invocations; Ctrl-C ends it.", err=True)
    keep_server(
        command,
        child_environment(
            TINYLLM_SERVED_MODEL=str(folder.absolute()),
            TINYLLM_SERVED_LIMITS=limits.model_dump_json(),
            MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT=str(round(limits.max_seconds + _GRACE)),
            MLFLOW_DISABLE_TELEMETRY="true",
            DO_NOT_TRACK="true",
        ),
    )


def _params() -> ServeConfig:
    path = Path("params.yaml")
    section = load_params(path)["serve"] if path.is_file() else ServeConfig()
    assert isinstance(section, ServeConfig)  # noqa: S101 - for the type checker
    return section


def _keeps_limits(folder: Path) -> bool:
    """Whether a model takes the limits; earlier exports do not know them."""
    description = parse_yaml(read_text(folder / "MLmodel"), str(folder / "MLmodel"))
    try:
        config = description["flavors"]["python_function"]["config"]
    except (KeyError, TypeError):
        return False
    return isinstance(config, dict) and {*ServeConfig.model_fields} <= {*config}


def _find_mlflow_model(source: str) -> Path:
    """The folder that MLflow opens.

    Raises:
        TinyLLMError: there is none.
    """
    from tinyllm.app.tracking.registry import locate_model

    folder = locate_model(source)
    for place in (folder, folder / "pyfunc"):
        if (place / "MLmodel").is_file():
            return place
    raise TinyLLMError(
        f"There is no MLflow model at {source}; name an export folder with the format pyfunc, such "
        f"as models/export, or a registered model, such as models:/tinyllm@champion."
    )
