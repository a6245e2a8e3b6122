"""What images on the way cost others: drawings that ask for none, beside a stream that shows them.

Run: OMP_NUM_THREADS=2 python benchmarks/preview_cost.py [--rounds 10] [--model mini]

A real server on loopback. One client streams a drawing with no preview, one after every fifth step,
or one after every step, in turn; meanwhile another draws an image without a stream, whose time is
measured. Times are medians, ratios are to the stream without previews.
"""

import argparse
import statistics
import threading
import time

import httpx2 as httpx

import janusflow
from janusflow.config.serving import ServingConfig
from janusflow.serving.app import create_app
from janusflow.serving.server import Server

ROUTE = "/v1/images/generations"
BODY = {"prompt": "a red circle", "plan_text": "a red circle", "seed": 1}
EVERY = {"none": None, "every 5th step": 5, "every step": 1}


def seconds(client: httpx.Client, every: int | None) -> tuple[float, int]:
    """Of the other's image, and how many previews the stream showed meanwhile."""
    shown = []

    def stream() -> None:
        body = BODY | {"n": 2, "num_inference_steps": 60, "stream": True}
        body |= {} if every is None else {"preview_every": every}
        with client.stream("POST", ROUTE, json=body) as answer:
            shown.extend(line for line in answer.iter_lines() if line.endswith("partial_image"))

    beside = threading.Thread(target=stream)
    beside.start()
    start = time.perf_counter()
    client.post(ROUTE, json=BODY | {"num_inference_steps": 30}).raise_for_status()
    took = time.perf_counter() - start
    beside.join()
    return took, len(shown)


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--model", default="mini")
    given = parser.parse_args()
    server = Server(create_app(janusflow.load(given.model), ServingConfig(port=0)))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    took: dict[str, list[float]] = {name: [] for name in EVERY}
    shown = dict.fromkeys(EVERY, 0)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=600.0) as client:
        seconds(client, None)  # warms up
        for _ in range(given.rounds):
            for name, every in EVERY.items():
                one, shown[name] = seconds(client, every)
                took[name].append(one)
    server.should_exit = True
    thread.join(10.0)
    base = statistics.median(took["none"])
    print("| previews | shown | seconds | ratio |\n|---|---|---|---|")
    for name, times in took.items():
        middle = statistics.median(times)
        print(f"| {name} | {shown[name]} | {middle:.2f} | {middle / base:.2f} |")


if __name__ == "__main__":
    main()
