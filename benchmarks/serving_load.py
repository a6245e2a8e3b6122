"""Many clients of one server: is every answer what it is alone, and how long does it take?

Run: python benchmarks/serving_load.py [--clients 32] [--seconds 120] [--requests 2000] [--json F]

A server is started on loopback. First every task is done alone, one after the other, for a quarter
of the time: that gives the answers that are wanted. Then the clients take tasks at random: chats
with and without images and drawings of several steps and weights, all whole and streamed. At the
end: a number of short requests while the server's memory is watched, kill -9, and a new start.
"""

import argparse
import asyncio
import base64
import io
import json
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx2 as httpx
import numpy as np
import openai
import psutil
from openai import AsyncOpenAI
from PIL import Image, ImageDraw

LEVELS = 2
"""How far pixels may be apart: sums over another number of rows round otherwise."""
QUESTIONS = ("What is in the picture?", "Describe the picture.", "그림을 설명해 줘.")
PROMPTS = ("a red circle", "파란 별", "a blue star to the left of a yellow heart")
PARTIAL: dict[str, Any] = {"stream": True, "partial_images": 2}
EVENTS = ["plan", "partial_image", "partial_image", "completed"]
"""Of one image stream: mini plans before it draws."""
REUSE_BYTES = 32 << 20
"""Of the server: full long before the short requests end, so that what grows then is no cache."""
STARTING_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True)
class Task:
    """One request, always the same."""

    kind: str
    """chat, image, or one of them as a stream."""
    body: dict[str, Any]

    async def ask(self, client: AsyncOpenAI) -> str:
        """Its answer: a text, or an image as base64."""
        if self.kind == "image":
            return (await client.images.generate(**self.body)).data[0].b64_json
        if self.kind == "image stream":
            told = [each async for each in await client.images.generate(**self.body, **PARTIAL)]
            kinds = [each.type.rpartition(".")[2] for each in told]
            if kinds != EVENTS:
                raise ValueError(f"events {', '.join(kinds)} for {PARTIAL}, wanted {EVENTS}")
            return told[-1].b64_json
        if self.kind == "chat":
            answer = await client.chat.completions.create(**self.body)
            return answer.choices[0].message.content
        chunks = await client.chat.completions.create(**self.body, stream=True)
        pieces = [chunk.choices[0].delta.content or "" async for chunk in chunks if chunk.choices]
        return "".join(pieces).strip()

    def is_same(self, told: str, wanted: str) -> bool:
        """Whether this is the answer; images up to rounding."""
        if not self.kind.startswith("image"):
            return told == wanted
        first, second = (_pixels(each) for each in (told, wanted))
        return first.shape == second.shape and bool(np.abs(first - second).max() <= LEVELS)


@dataclass(frozen=True, kw_only=True)
class Times:
    """How long requests took, in seconds."""

    done: int
    per_second: float
    p50: float
    p95: float


@dataclass(kw_only=True)
class Report:
    """What was found."""

    alone: Times
    together: dict[str, Times]
    """By kind, and of all."""
    wrong: int
    """Answers that were not what they are alone."""
    refused: int
    """429: tried again."""
    failed: int
    rss_mb: tuple[float, float, float]
    """Of the server: after the load, and after a quarter and all of the short requests."""
    restart_seconds: float
    is_same_after_restart: bool


def _pixels(encoded: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))), dtype=np.int16)


def tasks() -> list[Task]:
    """Chats, streams and images, so many of each as people mix them."""
    found: list[Task] = []
    for number, question in enumerate(QUESTIONS * 2):
        image = Image.new("RGB", (96, 96), "white")
        ImageDraw.Draw(image).ellipse((20, 20, 60 + 4 * number, 60), fill="red")
        content = io.BytesIO()
        image.save(content, format="PNG")
        data = base64.b64encode(content.getvalue()).decode("ascii")
        shown = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
        said = [shown, {"type": "text", "text": question}] if number % 3 else question
        how = {"temperature": 1.0, "seed": number} if number % 2 else {}
        body = {"model": "mini", "max_tokens": 40, "messages": [{"role": "user", "content": said}]}
        found += [Task(kind=kind, body=body | how) for kind in ("chat", "chat stream")]
    for number, (prompt, steps, guidance) in enumerate(
        zip(PROMPTS * 2, (4, 8, 12, 16, 6, 10), (1.0, 2.0, 3.0, 2.0, 4.0, 1.0), strict=True)
    ):
        own = {"seed": number, "num_inference_steps": steps, "guidance_scale": guidance}
        body = {"model": "mini", "prompt": prompt, "extra_body": own}
        found += [Task(kind=kind, body=body) for kind in ("image", "image stream")]
    return found


@contextmanager
def server(port: int) -> Iterator[subprocess.Popen[bytes]]:
    """`janusflow serve` with mini, once it answers."""
    command = [sys.executable, "-m", "janusflow.cli.main", "serve", "--port", str(port)]
    command += ["--reuse-bytes", str(REUSE_BYTES)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        until = time.monotonic() + STARTING_SECONDS
        while True:
            with suppress(httpx.TransportError):
                httpx.get(f"http://127.0.0.1:{port}/health", timeout=STARTING_SECONDS)
                break
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError("the server has not started")
            time.sleep(0.05)
        yield process
    finally:
        process.kill()
        process.wait()


def summed(seconds: list[float], wall: float) -> Times:
    """Percentiles and throughput."""
    cuts = statistics.quantiles(seconds, n=20) if len(seconds) > 1 else seconds * 19
    rate = round(len(seconds) / wall, 2)
    return Times(done=len(seconds), per_second=rate, p50=round(cuts[9], 3), p95=round(cuts[18], 3))


async def one_at_a_time(
    client: AsyncOpenAI, mix: list[Task], seconds: float
) -> tuple[list[str], Times]:
    """Every task's answer, and how long they took: each once at least."""
    answers, took, start = list[str](), list[float](), time.monotonic()
    while len(took) < len(mix) or time.monotonic() - start < seconds:
        before = time.monotonic()
        answer = await mix[len(took) % len(mix)].ask(client)
        took.append(time.monotonic() - before)
        answers.append(answer)
    return answers[: len(mix)], summed(took, time.monotonic() - start)


async def together(
    client: AsyncOpenAI, mix: list[Task], wanted: list[str], *, clients: int, seconds: float
) -> tuple[dict[str, Times], int, int, int]:
    """Times by kind, and how many were wrong, refused and failed."""
    took: dict[str, list[float]] = defaultdict(list)
    wrong = refused = failed = 0
    start = time.monotonic()

    async def person(number: int) -> None:
        nonlocal wrong, refused, failed
        chance = random.Random(number)
        while time.monotonic() - start < seconds:
            index = chance.randrange(len(mix))
            before = time.monotonic()
            try:
                answer = await mix[index].ask(client)
            except openai.RateLimitError as error:
                refused += 1
                await asyncio.sleep(float(error.response.headers["retry-after"]))
                continue
            except openai.APIError:
                failed += 1
                continue
            wrong += not mix[index].is_same(answer, wanted[index])
            for kind in ("all", mix[index].kind):
                took[kind].append(time.monotonic() - before)

    await asyncio.gather(*(person(number) for number in range(clients)))
    wall = time.monotonic() - start
    return {kind: summed(each, wall) for kind, each in took.items()}, wrong, refused, failed


async def short_requests(client: AsyncOpenAI, process: psutil.Process, number: int) -> list[float]:
    """The server's memory in MB after a quarter of so many short requests, and after all."""
    told = list[float]()
    short = Task(kind="chat", body={"model": "mini", "max_tokens": 1, "messages": []})
    for index in range(number):
        said = [{"role": "user", "content": f"What is {index}?"}]
        if index % 8:
            await Task(kind="chat", body=short.body | {"messages": said}).ask(client)
        else:
            own = {"num_inference_steps": 1, "guidance_scale": 1, "plan": "never"}
            body = {"model": "mini", "prompt": f"{index} stars", "extra_body": own}
            await Task(kind="image", body=body).ask(client)
        if index + 1 in (number // 4, number):
            told.append(process.memory_info().rss / 2**20)
    return told


async def measure(*, clients: int, seconds: float, requests: int) -> Report:
    """Start a server, load it, kill it, start it again."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    mix, url = tasks(), f"http://127.0.0.1:{port}/v1"
    async with AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as client:
        with server(port) as process:
            watched = psutil.Process(process.pid)
            wanted, alone = await one_at_a_time(client, mix, seconds / 4)
            by_kind, wrong, refused, failed = await together(
                client, mix, wanted, clients=clients, seconds=seconds
            )
            rss = [watched.memory_info().rss / 2**20]
            rss += await short_requests(client, watched, requests)
            process.send_signal(signal.SIGKILL)
            process.wait()
        start = time.monotonic()
        with server(port):
            restart = time.monotonic() - start
            again = await mix[0].ask(client)
    return Report(
        alone=alone,
        together=by_kind,
        wrong=wrong,
        refused=refused,
        failed=failed,
        rss_mb=(round(rss[0], 1), round(rss[1], 1), round(rss[2], 1)),
        restart_seconds=round(restart, 1),
        is_same_after_restart=mix[0].is_same(again, wanted[0]),
    )


def main() -> None:
    """Read the command line, and print the report."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=120.0)
    parser.add_argument("--requests", type=int, default=2000, help="short ones, for the memory")
    parser.add_argument("--json", type=Path, help="file of the report")
    given = parser.parse_args()
    report = asyncio.run(
        measure(clients=given.clients, seconds=given.seconds, requests=given.requests)
    )
    told = json.dumps(asdict(report), indent=1)
    print(told)
    if given.json is not None:
        given.json.write_text(told, encoding="utf-8")
    sys.exit(bool(report.wrong or report.failed or not report.is_same_after_restart))


if __name__ == "__main__":
    main()
