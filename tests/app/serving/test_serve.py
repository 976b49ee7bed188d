"""The server for a model: limits, clients that leave, texts that are what the model writes."""

import http.client
import json
import os
import shutil
import signal
import subprocess
import sys

import psutil
import pytest

from tests.clients.serving import BLOCKS
from tests.project import clean_environment
from tests.proxy import free_port
from tests.waiting import wait_until
from tinyllm.inference.config import SamplingConfig
from tinyllm.inference.generate import generate_text

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("serving")]

GREEDY = {"temperature": 0, "max_new_tokens": 40}
LONG = 900_000


class Server:
    """`tinyllm serve` in a process of its own."""

    def __init__(self, folder, *flags):
        self.port = free_port()
        command = [sys.executable, "-m", "tinyllm.app.cli", "serve", "--model", "export"]
        self.process = subprocess.Popen(
            [*command, "--port", str(self.port), "--workers", "1", *flags],
            cwd=folder,
            env=clean_environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        wait_until(self.answers)

    def answers(self):
        """Whether the model is there."""
        assert self.process.poll() is None, self.process.stderr.read()
        try:
            return self.ask("GET", "/health", None)[0] == 200
        except OSError:
            return False

    def ask(self, method, path, body):
        """Status and answer of a request, of which the answer is JSON if there is one."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request(method, path, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if text.strip() else None

    def continue_(self, *prompts, **params):
        """Status and answer of a request for texts."""
        records = [{"prompt": prompt} for prompt in prompts]
        body = json.dumps({"dataframe_records": records, "params": params})
        return self.ask("POST", "/invocations", body)

    def seconds_computed(self):
        """Processor time of all its processes."""
        tree = [psutil.Process(self.process.pid)]
        tree += tree[0].children(recursive=True)
        return sum(sum(process.cpu_times()[:2]) for process in tree)

    def end(self):
        """End it as Ctrl-C does, and return what it said."""
        tree = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGINT)
        said = self.process.stderr.read()
        assert self.process.wait() == 0
        assert [process for process in tree if process.is_running()] == []
        return said


@pytest.fixture(scope="module")
def place(export_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "params.yaml").write_text(
        "serve: {max_prompts: 7, max_seconds: 3, max_new_tokens: 900000}\n"
    )
    shutil.copytree(export_folder / "pyfunc", folder / "export/pyfunc")
    # the model must be run by the code that came with it
    own = folder / "export/pyfunc/code/tinyllm/inference/request.py"
    text = own.read_text()
    assert "prompts times max_new_tokens" in text
    own.write_text(text.replace("prompts times max_new_tokens", "the model's own code says"))
    return folder


@pytest.fixture(scope="module")
def server(place):
    server = Server(place, "--max-prompt-characters", "1000")
    yield server
    said = server.end()
    assert said.startswith("export at http://127.0.0.1:")
    assert len(said.splitlines()) == 1


def test_texts_are_what_the_model_writes(server, checkpoint):
    prompts = ["What news, ", "O", "DUKE:\n", "What news, " * 9, ""]
    status, answer = server.continue_(*prompts, **GREEDY)
    assert status == 200
    wanted = [generate_text(checkpoint, prompt, SamplingConfig(**GREEDY)) for prompt in prompts]
    assert [row["text"] for row in answer["predictions"]] == wanted


@pytest.mark.parametrize(
    ("prompts", "params", "status", "sentence"),
    [
        (["O"], {"temperature": -1}, 400, "sampling.temperature: should be greater than or eq"),
        (
            ["O"],
            {"max_new_tokens": 1_000_000},
            400,
            "The request asks for 1,000,000 tokens, the model's own code says",
        ),
        # more than any sampling may write
        (["O"], {"max_new_tokens": 10**9}, 400, "sampling.max_new_tokens: should be less than"),
        (["O"] * 8, {}, 400, "The request holds 8 prompts; one request may hold at most 7."),
        (["O"], {"max_tokens": 5}, 400, "params must be an object with some of the keys max_new"),
        (["O"], {"temperature": "hot" * 9999}, 400, "Invalid parameters found"),
        (["O" * 1001], {}, 400, "The request holds 1 prompts of 1,001 characters"),
        (["\ud800"], {}, 400, "Invalid input."),
        (["O" * 10**7], {}, 413, "The request has more than 112,000 bytes; send fewer characters."),
    ],
)
def test_what_is_refused_gets_one_sentence(server, prompts, params, status, sentence):
    found, answer = server.continue_(*prompts, **params)
    assert (found, answer["message"][: len(sentence)]) == (status, sentence)
    assert "\n" not in answer["message"]
    assert {*answer} == {"message", "error_code"}


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{",
        "[]",
        '"O"',
        '{"prompt": "O"',
        b"\xff",
        "[" * 100_000,
        "9" * 5000,
        '{"dataframe_records": 9%s}' % ("9" * 5000),
        '{"prompt": "O", "max_tokens": 3}',
        '{"dataframe_records": [{"a": 1}, {"b": 2}]}',
        '{"inputs": {"prompt": ["O"], "other": [1]}}',
        '{"dataframe_split": {"columns": ["a"], "data": [["O"]]}}',
        '{"dataframe_records": [{"prompt": "O"}], "params": [1]}',
    ],
    ids=range(14),
)
def test_what_is_no_request_gets_one_sentence(server, body):
    status, answer = server.ask("POST", "/invocations", body)
    assert status == 400
    assert {*answer} == {"message", "error_code"}
    assert len(answer["message"]) < 310


@pytest.mark.parametrize(("path", "status"), [("/docs", 404), ("/version", 200), ("/ping", 200)])
def test_the_routes_are_those_of_the_page(server, path, status):
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("GET", path)
    assert connection.getresponse().status == status


@pytest.mark.parametrize("kind", [None, "text/plain", "application/vnd.apache.parquet"])
def test_other_kinds_of_content_are_refused(server, kind):
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", "/invocations", b"PAR1", {"Content-Type": kind} if kind else {})
    answer = connection.getresponse()
    assert answer.status == 415
    assert json.load(answer)["message"].startswith("Send JSON")


@pytest.mark.parametrize(
    "asked",
    [
        {"inputs": ["O"]},
        {"inputs": {"prompt": ["O"]}},
        {"instances": [{"prompt": "O"}]},
        {"dataframe_split": {"columns": ["prompt"], "data": [["O"]]}},
    ],
)
def test_every_form_of_a_table_gives_the_same_text(server, checkpoint, asked):
    body = json.dumps({**asked, "params": GREEDY})
    status, answer = server.ask("POST", "/invocations", body)
    assert status == 200, answer
    wanted = generate_text(checkpoint, "O", SamplingConfig(**GREEDY))
    assert [row["text"] for row in answer["predictions"]] == [wanted]


def test_a_request_that_takes_too_long_ends_with_a_sentence(server):
    status, answer = server.continue_(*["O"] * 7, max_new_tokens=LONG // 7)
    assert status == 504
    assert answer["message"].startswith("The request was not done after 3 seconds; ask for fewer")


def test_when_a_client_leaves_the_work_for_it_ends(place):
    server = Server(place, "--max-seconds", "600")
    body = json.dumps(
        {
            "dataframe_records": [{"prompt": "O"}] * 7,
            "params": {"max_new_tokens": LONG // 7},
        }
    )
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    before = server.seconds_computed()
    connection.request("POST", "/invocations", body, {"Content-Type": "application/json"})
    wait_until(lambda: server.seconds_computed() > before + 0.5)
    connection.close()
    computed = [server.seconds_computed()]

    def rests():
        computed.append(server.seconds_computed())
        return computed[-1] - computed[-2] < 0.02

    wait_until(rests, between=0.5)
    # the whole request would take some seconds
    assert computed[-1] - computed[0] < 1.5
    status, _ = server.continue_("O", **GREEDY)
    assert status == 200
    server.end()


@pytest.mark.parametrize("victim", ["the command", "the server"])
def test_when_one_is_killed_nothing_goes_on_answering(place, victim):
    server = Server(place)
    (child,) = psutil.Process(server.process.pid).children()
    tree = [child, *child.children(recursive=True)]
    (child if victim == "the server" else server.process).kill()
    server.process.wait(30)
    _, left = psutil.wait_procs(tree, timeout=30)
    assert left == []
    if victim == "the server":
        assert server.process.returncode == 1
        assert "The server was ended by SIGKILL" in server.process.stderr.read()


def refusal(folder, model, port):
    """What the command says that does not start."""
    command = [sys.executable, "-m", "tinyllm.app.cli", "serve", "--model", model]
    result = subprocess.run(
        [*command, "--port", str(port)],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    return result.stderr


def test_a_port_that_is_taken_is_refused(server, place):
    said = refusal(place, "export", server.port)
    assert f"Port {server.port} of 127.0.0.1 cannot be used" in said


def test_a_folder_without_a_model_is_refused(tmp_path):
    assert "There is no MLflow model at nowhere" in refusal(tmp_path, "nowhere", free_port())


@pytest.mark.parametrize("name", ["serve", "mlflow-serve"])
def test_the_page_on_serving_is_true(name, export_folder, checkpoint, tmp_path):
    (tmp_path / "models").mkdir()
    (tmp_path / "models/export").symlink_to(export_folder)
    environment = {**clean_environment(), "PORT": str(free_port())}

    def shell(block):
        return ["bash", "-euo", "pipefail", "-c", BLOCKS[block]]

    with subprocess.Popen(
        shell(name), cwd=tmp_path, env=environment, stderr=subprocess.PIPE, start_new_session=True
    ) as server:
        answers = []

        def answered():
            assert server.poll() is None
            asked = subprocess.run(
                shell("ask-mlflow"), env=environment, capture_output=True, text=True, check=False
            )
            answers.append(asked.stdout)
            return asked.returncode == 0

        wait_until(answered, between=0.5)
        os.killpg(server.pid, signal.SIGTERM)
    greedy = SamplingConfig(temperature=0)
    wanted = [{"text": generate_text(checkpoint, text, greedy)} for text in ("O, ", "What news, ")]
    assert json.loads(answers[-1])["predictions"] == wanted
