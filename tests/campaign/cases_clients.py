"""Cases: other programs that talk to the served model."""

import json
from typing import Any

from tests.campaign.case import Mechanism, case
from tests.campaign.world import World

CLIENTS = Mechanism.CLIENTS
# the scoring server's own route, without a socket
SERVE = """
import json, sys
import mlflow.pyfunc
from mlflow.exceptions import MlflowException
from mlflow.pyfunc.scoring_server import invocations
model = mlflow.pyfunc.load_model(sys.argv[1])
schema = model.metadata.get_input_schema()
for body in json.load(sys.stdin):
    try:
        answer = invocations(json.dumps(body), "application/json", model, schema)
        print(json.dumps([answer.status, answer.response]))
    except MlflowException as error:
        told = json.loads(error.serialize_as_json())["message"]
        print(json.dumps([error.get_http_status_code(), told]))
"""
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true"}


def ask(world: World, *bodies: Any) -> list[tuple[int, str]]:
    """Statuses and answers or messages of requests to MLflow's scoring server."""
    place = world.outs("models/export")
    result = world.run(
        "python", "-c", SERVE, str(place / "models/export/pyfunc"),
        cwd=place, env=QUIET, given=json.dumps(bodies),
    )  # fmt: skip
    return [tuple(json.loads(line)) for line in result.succeeded().splitlines() if line[0] == "["]


def records(*prompts: Any, **params: Any) -> dict[str, Any]:
    """A request with a row for each prompt."""
    return {"dataframe_records": [{"prompt": p} for p in prompts], "params": params}


@case(
    CLIENTS,
    "pyfunc: a list, null, number, true, object as prompt",
    "refused with a sentence",
    slow=True,
)
def prompts_of_other_types(world: World) -> None:
    """Only a text is a prompt."""
    bad: list[Any] = [["a", "b"], None, 5, 1.5, True, {"a": "b"}]
    bodies = [records(prompt) for prompt in bad] + [records("a", None), records("a", 5)]
    bodies += [
        {"inputs": {"prompt": [None]}},
        {"dataframe_split": {"columns": ["prompt"], "data": [[7]]}},
    ]
    for body, (status, message) in zip(bodies, ask(world, *bodies), strict=True):
        assert status == 400, (body, status, message)
        assert "prompt" in message, (body, message)
        assert "unexpected error" not in message, (body, message)


@case(
    CLIENTS,
    "serving: temperature -1 and other refused params",
    "our sentence in `message`",
    slow=True,
)
def refused_params(world: World) -> None:
    """The client reads what is wrong."""
    bodies = [
        records("a", temperature=-1.0),
        records("a", max_new_tokens=0),
        records("a", top_p=2.0),
        records("a", top_k=-1),
        records("a", seed=-1),
    ]
    for body, (status, message) in zip(bodies, ask(world, *bodies), strict=True):
        assert status == 400, message
        assert next(iter(body["params"])) in message
        assert "unexpected error" not in message


@case(
    CLIENTS, "serving: max_new_tokens 1,000,000; 2 MB prompt; 10,000 prompts", "refused", slow=True
)
def too_much_at_once(world: World) -> None:
    """One request cannot keep the server busy for long."""
    bodies = [
        records("a", max_new_tokens=1_000_000),
        records("a" * 2_000_000, max_new_tokens=5),
        records(*["a"] * 10_000),
        records(*["a" * 1000] * 1000, max_new_tokens=1),
    ]
    for status, message in ask(world, *bodies):
        assert status == 400, message[:200]
        assert "at most" in message, message[-300:]


@case(
    CLIENTS,
    "serving: half an emoji, unknown characters, CRLF, an empty prompt",
    "answered or refused",
    slow=True,
)
def odd_prompts(world: World) -> None:
    """No text breaks the server."""
    bodies = [records(p, max_new_tokens=3) for p in ("\ud83d", "№ж", "a\r\nb", "", "\0")]
    for status, message in ask(world, *bodies):
        assert status in (200, 400), message
        assert "unexpected error" not in message, message


@case(
    CLIENTS,
    "serving: no prompt column, no rows, an unknown param",
    "a sentence or an empty answer",
    slow=True,
)
def odd_requests(world: World) -> None:
    """The shape of a request is checked too."""
    bodies = [
        {"dataframe_records": [{"text": "a"}]},
        {"dataframe_split": {"columns": ["prompt"], "data": []}},
        {"dataframe_records": [{"prompt": "a", "other": 1}], "params": {"max_new_tokens": 2}},
        {"inputs": "a", "params": {"max_new_tokens": 2}},
        {"instances": [{"prompt": "a"}], "params": {"max_new_tokens": 2}},
    ]
    for body, (status, message) in zip(bodies, ask(world, *bodies), strict=True):
        assert status in (200, 400), (body, message)
        assert "unexpected error" not in message, (body, message)


@case(CLIENTS, "pyfunc: what worked before", "the same texts", slow=True)
def plain_requests(world: World) -> None:
    """A right request gets its text."""
    params = {"max_new_tokens": 5, "temperature": 0.0}
    found = ask(
        world, records("What", "O, ", **params), {"inputs": {"prompt": ["What"]}, "params": params}
    )
    for status, answer in found:
        assert status == 200, answer
        assert json.loads(answer)["predictions"][0]["text"].startswith("What")
