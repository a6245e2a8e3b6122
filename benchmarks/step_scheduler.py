"""Requests that arrive at random: admitted at the next step, or batch by batch.

Run: OMP_NUM_THREADS=2 python benchmarks/step_scheduler.py [--loads 0.4 0.7 1.0] [--json out.json]

Drawings of 10 to 30 steps, guided and not, one or two images each, and questions, arrive as a
Poisson process. Both ways do the same work through the same code, on the same arrivals:

steps    a request is taken at the next step if there is room, and leaves when it is done
batches  when no batch runs, those that wait make one, as many as there is room for; all of it is
         done when its last request is

Time is that of the steps as measured, one after another; waiting for the next arrival takes none.
Load 1 is the rate at which requests leave by `steps` when all are there from the start.
"""

import argparse
import json
import os
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

import janusflow
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.batching.requests import Handle
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

PROMPTS = (
    "a red circle",
    "파란 별",
    "a blue star to the left of a yellow heart",
    "초록색 삼각형 위에 빨간 사각형",
    "a large purple ring on a pale green background",
)
QUESTIONS = ("What is in the picture?", "Describe the picture.", "그림을 설명해 줘.")
STEPS, GUIDANCE, NUM_IMAGES = (10, 20, 30), (1.0, 2.0, 4.0), (1, 1, 2)
WAYS = ("batches", "steps")


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """One request: a question where there are no images to draw."""

    at: float
    """Seconds."""
    text: str
    num_images: int
    steps: int
    guidance: float

    def submit(self, scheduler: StepScheduler) -> Handle:
        """Hand it in."""
        if not self.num_images:
            settings = AnsweringSettings(max_new_tokens=48)
            return scheduler.submit_question([question_message([], self.text)], settings=settings)
        return scheduler.submit_drawing(
            self.text,
            num_images=self.num_images,
            seed=0,
            settings=DrawingSettings(steps=self.steps, guidance=self.guidance),
        )


@dataclass(frozen=True, kw_only=True)
class Result:
    """How one way served one stream of requests."""

    load: float
    way: str
    throughput: float
    """Requests a second, from the first arrival to the last result."""
    median: float
    """Seconds from a request's arrival to its result."""
    p95: float
    question_median: float


def requests(num: int, *, rate: float, questions: float, seed: int) -> list[Arrival]:
    """The same requests for every rate; only the gaps between them are scaled."""
    rng = np.random.default_rng(seed)
    arrivals, at = [], 0.0
    for _ in range(num):
        at += rng.exponential() / rate
        is_question = rng.random() < questions
        arrivals.append(
            Arrival(
                at=at,
                text=str(rng.choice(QUESTIONS if is_question else PROMPTS)),
                num_images=0 if is_question else int(rng.choice(NUM_IMAGES)),
                steps=int(rng.choice(STEPS)),
                guidance=float(rng.choice(GUIDANCE)),
            )
        )
    return arrivals


def serve(
    jf: JanusFlow, arrivals: Sequence[Arrival], *, way: str, room: int
) -> list[tuple[Arrival, float]]:
    """Serve all of them; give every request with the second its result came."""
    scheduler = StepScheduler(jf, max_images=room, max_questions=room)
    coming, running = deque(arrivals), list[tuple[Arrival, Handle]]()
    finished: list[tuple[Arrival, float]] = []
    clock = 0.0
    while coming or running:
        if not running:
            clock = max(clock, coming[0].at)
        may_enter, places = way == "steps" or not running, room
        while may_enter and coming and coming[0].at <= clock:
            # A batch is full when its next request does not fit; one that never fits goes alone.
            places -= max(1, coming[0].num_images)
            if way == "batches" and places < 0 and running:
                break
            arrival = coming.popleft()
            running.append((arrival, arrival.submit(scheduler)))
        begin = time.perf_counter()
        scheduler.step()
        clock += time.perf_counter() - begin
        if way == "steps" or all(handle.done() for _, handle in running):
            finished += [(arrival, clock) for arrival, handle in running if handle.done()]
            running = [(arrival, handle) for arrival, handle in running if not handle.done()]
    return finished


def measured(finished: list[tuple[Arrival, float]], *, load: float, way: str) -> Result:
    """Sum up one run."""
    waits = [end - arrival.at for arrival, end in finished]
    asked = [end - arrival.at for arrival, end in finished if not arrival.num_images]
    span = max(end for _, end in finished) - min(arrival.at for arrival, _ in finished)
    return Result(
        load=load,
        way=way,
        throughput=len(finished) / span,
        median=float(np.median(waits)),
        p95=float(np.quantile(waits, 0.95)),
        question_median=float(np.median(asked)) if asked else float("nan"),
    )


def show(results: Sequence[Result]) -> None:
    """Print a line a run, and how the two ways compare."""
    print("load  way      requests/s  median s   p95 s  questions, median s")
    for result in results:
        print(
            f"{result.load:4.2f}  {result.way:7s} {result.throughput:11.2f} {result.median:9.2f} "
            f"{result.p95:7.2f} {result.question_median:20.2f}"
        )
    for batches, steps in zip(results[::2], results[1::2], strict=True):
        print(
            f"load {steps.load:.2f}, batches / steps: median {batches.median / steps.median:.2f}, "
            f"p95 {batches.p95 / steps.p95:.2f}; requests/s, steps / batches: "
            f"{steps.throughput / batches.throughput:.2f}"
        )


def main() -> None:
    """Measure the capacity, then both ways at every load."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="mini")
    parser.add_argument("--requests", type=int, default=32, help="a run")
    parser.add_argument("--loads", type=float, nargs="+", default=[0.4, 0.7, 1.0])
    parser.add_argument("--questions", type=float, default=0.3, help="share of the requests")
    parser.add_argument("--room", type=int, default=8, help="images, and questions, at once")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    busy, cores = os.getloadavg()[0], os.cpu_count() or 1
    if busy > 0.5:
        print(f"{busy:.1f} other processes share {cores} cores: the times are not to be trusted")
    jf = janusflow.load(options.model)

    def stream(rate: float) -> list[Arrival]:
        return requests(options.requests, rate=rate, questions=options.questions, seed=options.seed)

    serve(jf, stream(1e9)[:4], way="steps", room=options.room)  # warms up
    finished = serve(jf, stream(1e9), way="steps", room=options.room)
    capacity = measured(finished, load=0.0, way="steps").throughput
    print(f"{options.requests} requests that are all there: {capacity:.2f} a second")
    results = [
        measured(serve(jf, stream(load * capacity), way=way, room=options.room), load=load, way=way)
        for load in options.loads
        for way in WAYS
    ]
    show(results)
    if options.json is not None:
        numbers = {"capacity": capacity, "other_processes": busy, "cores": cores}
        rows = [asdict(result) for result in results]
        options.json.write_text(json.dumps(numbers | {"results": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
