"""A corpus in an S3 store is prepared as one on this machine is."""

import contextlib
import os
import signal
import subprocess
import time
import urllib.error
import urllib.request

import boto3
import pytest

from tests.server.conftest import missing_parts
from tests.server.team import free_ports

pytestmark = pytest.mark.slow

TEXTS = {"b.txt": "Zwei.\r\nDrei ß.\n" * 900, "a/one.txt": "Eins.\n" * 900, "c.md": "no"}
# a store without accounts takes whatever it is told
ANY = "any"
COMMAND = ["tinyllm", "prepare", "--split-by", "corpus", "--out"]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """An S3 store with a bucket `texts`, as the environment of a command."""
    if "weed" in missing_parts():
        pytest.skip("not installed: weed")
    folder = tmp_path_factory.mktemp("store")
    s3, master, volume, filer = free_ports(4)
    flags = [
        "-s3",
        "-filer",
        "-master.telemetry=false",
        "-ip=127.0.0.1",
        f"-dir={folder}",
        f"-s3.port={s3}",
    ]
    flags += [f"-master.port={master}", f"-volume.port={volume}", f"-filer.port={filer}"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            ["weed", "server", "-master.telemetry=false", *flags],
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": ANY,
        "AWS_SECRET_ACCESS_KEY": ANY,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{s3}",
    }
    try:
        wait_for(environment["AWS_ENDPOINT_URL"])
        fill(environment)
        yield environment
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def wait_for(url):
    for _ in range(300):
        with contextlib.suppress(OSError):
            try:
                urllib.request.urlopen(url, timeout=5)
            except urllib.error.HTTPError:
                return
            return
        time.sleep(0.2)
    pytest.fail(f"{url} does not answer")


def fill(environment):
    client = boto3.client(
        "s3",
        endpoint_url=environment["AWS_ENDPOINT_URL"],
        aws_access_key_id=ANY,
        aws_secret_access_key=ANY,
        region_name="us-east-1",
    )
    for _ in range(100):
        # the store answers before it can write
        with contextlib.suppress(client.exceptions.ClientError):
            client.create_bucket(Bucket="texts")
            break
        time.sleep(0.2)
    for name, text in TEXTS.items():
        client.put_object(Bucket="texts", Key=f"corpus/{name}", Body=text.encode())


def run(folder, environment, *arguments):
    command = [*COMMAND, *arguments]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


def test_a_corpus_in_s3_gives_the_bytes_of_one_on_this_machine(store, tmp_path):
    for name, text in TEXTS.items():
        (tmp_path / "raw" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(text.encode())
    remote = run(tmp_path, store, "remote", "--source", "s3://texts/corpus")
    local = run(tmp_path, store, "local", "--source", "raw")
    assert remote.returncode == local.returncode == 0, remote.stderr
    assert "s3://texts/corpus: taken 2 of 3 files" in remote.stdout
    found = {path.name: path.read_bytes() for path in (tmp_path / "remote").iterdir()}
    assert found == {path.name: path.read_bytes() for path in (tmp_path / "local").iterdir()}


@pytest.mark.parametrize("address", ["s3://texts/none", "s3://no-such-bucket/x"])
def test_a_corpus_that_is_not_there_is_said_in_a_sentence(store, tmp_path, address):
    result = run(tmp_path, store, "out", "--source", address)
    assert result.returncode == 1
    assert address in result.stderr
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "out").exists()
