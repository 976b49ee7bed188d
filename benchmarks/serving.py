"""How a served model answers many clients at once, and what two bad requests do to the others.

    python benchmarks/serving.py [SECONDS [CLIENTS]]

Starts `tinyllm serve` on models/export with a process for each core. Each client asks for 100
characters after a prompt of 20, and again as soon as it has them. In every second interval of half
a minute two more clients ask, once a second, for 10^9 characters and with 10 MB of prompt. The
clients run in this process, on the same cores.
"""

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
PORT = 5077
INTERVAL = 30.0
WRITTEN, READ = 100, 20
PLACE = f"http://127.0.0.1:{PORT}"


@dataclass
class Results:
    """Latencies in seconds of quiet and of noisy intervals, statuses, and memory in MB."""

    quiet: list[float] = field(default_factory=list)
    noisy: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    memory: list[float] = field(default_factory=list)
    is_noisy: bool = False


@contextlib.contextmanager
def server() -> Iterator[psutil.Process]:
    """`tinyllm serve` until the block ends."""
    command = [sys.executable, "-m", "tinyllm.app.cli", "serve", "--model", "models/export"]
    process = subprocess.Popen([*command, "--port", str(PORT)], cwd=ROOT)
    try:
        yield psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()


def body(prompt: str, count: int) -> bytes:
    """A request for one text."""
    records = {"dataframe_records": [{"prompt": prompt}], "params": {"max_new_tokens": count}}
    return json.dumps(records).encode()


async def post(session: aiohttp.ClientSession, data: bytes) -> str:
    """The status of the answer, or the name of the failure."""
    headers = {"Content-Type": "application/json"}
    try:
        async with session.post(f"{PLACE}/invocations", data=data, headers=headers) as answer:
            await answer.read()
            return str(answer.status)
    except aiohttp.ClientError as error:
        return type(error).__name__


async def client(session: aiohttp.ClientSession, number: int, results: Results) -> None:
    """Ask again and again."""
    text = (ROOT / "data/raw/sample/the-salt-duke.txt").read_text(encoding="utf-8")
    for turn in itertools.count():
        first = (number * 1009 + turn * 31) % (len(text) - READ)
        begin, noisy = time.perf_counter(), results.is_noisy
        status = await post(session, body(text[first : first + READ], WRITTEN))
        latencies = results.noisy if noisy else results.quiet
        latencies.append(time.perf_counter() - begin)
        results.statuses[status] += 1


async def bad_client(session: aiohttp.ClientSession, data: bytes, results: Results) -> None:
    """Ask for too much, once a second, in the noisy intervals."""
    while True:
        if results.is_noisy:
            results.refused[await post(session, data)] += 1
        await asyncio.sleep(1)


async def watch(process: psutil.Process, results: Results) -> None:
    """Change the interval, and note the memory."""
    while True:
        tree = [process, *process.children(recursive=True)]
        results.memory.append(sum(one.memory_info().rss for one in tree) / 1e6)
        await asyncio.sleep(INTERVAL)
        results.is_noisy = not results.is_noisy


@contextlib.asynccontextmanager
async def ready_session() -> AsyncIterator[aiohttp.ClientSession]:
    """A session, once the server answers."""
    connector = aiohttp.TCPConnector(limit=0)
    timeout = aiohttp.ClientTimeout(total=None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                async with session.get(f"{PLACE}/health") as answer:
                    if answer.status == 200:
                        break
            await asyncio.sleep(0.2)
        yield session


async def load(process: psutil.Process, seconds: float, clients: int) -> Results:
    """Let the clients ask for so many seconds."""
    results = Results()
    async with ready_session() as session:
        # every worker has answered before anything counts
        await asyncio.gather(*(post(session, body("O", WRITTEN)) for _ in range(64)))
        tasks = [client(session, number, results) for number in range(clients)]
        tasks += [bad_client(session, body("O", 10**9), results)]
        tasks += [bad_client(session, body("O" * 10**7, WRITTEN), results)]
        tasks += [watch(process, results)]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(asyncio.gather(*tasks), seconds)
    return results


def show(results: Results, seconds: float) -> None:
    """Print the figures."""
    answers = len(results.quiet) + len(results.noisy)
    print(f"{answers} answers, {answers / seconds:.0f} a second: {dict(results.statuses)}")
    for name in ("quiet", "noisy"):
        times = np.array(getattr(results, name)) * 1e3
        p50, p95, p99 = np.percentile(times, [50, 95, 99]) if len(times) else [np.nan] * 3
        print(f"{name}: p50 {p50:.0f} ms, p95 {p95:.0f} ms, p99 {p99:.0f} ms, {len(times)} answers")
    print(f"bad requests: {dict(results.refused)}")
    print("memory, MB:", " ".join(f"{size:.0f}" for size in results.memory))


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300.0
    clients = int(sys.argv[2]) if len(sys.argv) > 2 else 64
    with server() as process:
        results = asyncio.run(load(process, seconds, clients))
    show(results, seconds)


if __name__ == "__main__":
    main()
