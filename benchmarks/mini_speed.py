"""How long `mini` takes to load and to draw, in fresh processes, medians over repetitions.

Run: python benchmarks/mini_speed.py [--model mini] [--repeats 5]
Loading is timed after the libraries are imported, and with them; drawing is one 64x64 image
with the default 30 Euler steps and guidance 2, first image of the process excluded and included.
"""

import argparse
import json
import statistics
import subprocess
import sys

PROBE = """
import json, sys, time
start = time.perf_counter()
import janusflow
from janusflow.inference import loading
imported = time.perf_counter()
jf = janusflow.load(sys.argv[1])
loaded = time.perf_counter()
jf.generate("a red circle", seed=0)
first = time.perf_counter()
jf.generate("a red circle", seed=0)
second = time.perf_counter()
jf.ask(jf.generate("a blue star", seed=0, steps=2)[0], "What colour is it?")
print(json.dumps({
    "import": imported - start, "load": loaded - imported,
    "first image": first - loaded, "next image": second - first,
}))
"""


def main() -> None:
    """Print the median, least and most seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    runs = []
    for _ in range(options.repeats):
        command = [sys.executable, "-W", "ignore", "-c", PROBE, options.model]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        runs.append(json.loads(out.strip().splitlines()[-1]))
    print(f"{'part':16s} median   min   max   seconds, {options.repeats} processes")
    for part in runs[0]:
        seconds = [run[part] for run in runs]
        print(
            f"{part:16s} {statistics.median(seconds):6.2f} {min(seconds):5.2f} {max(seconds):5.2f}"
        )


if __name__ == "__main__":
    main()
