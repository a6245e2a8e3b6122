"""An image of `mini` from a cold start, against importing the libraries it is built on.

Run: python benchmarks/cold_start.py [--repeats 7]
Whole processes, one after the other in turns: `janusflow generate`, which imports, loads, plans,
draws and writes, and a bare import of torch, transformers' Llama and SigLIP, and diffusers'
AutoencoderKL. Processor time is told beside the clock: what other programs take is not in it.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

IMPORTS = """
import torch
from transformers import LlamaForCausalLM, SiglipVisionModel
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
"""
QUIET = [sys.executable, "-W", "ignore"]


def measure(command: list[str]) -> tuple[float, float]:
    """Wall clock and processor seconds of one process."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print medians of both, and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="write the numbers to this file")
    options = parser.parse_args()
    found: dict[str, list[tuple[float, float]]] = {"imports": [], "generate": []}
    with tempfile.TemporaryDirectory() as folder:
        drawing = ["generate", "a red circle", "-q", "-o", str(Path(folder) / "drawn.png")]
        commands = {
            "imports": [*QUIET, "-c", IMPORTS],
            "generate": [*QUIET, "-m", "janusflow.cli.main", *drawing],
        }
        for _ in range(options.repeats):
            for name, command in commands.items():
                found[name].append(measure(command))
    medians = {
        name: [statistics.median(values) for values in zip(*runs, strict=True)]
        for name, runs in found.items()
    }
    print(f"{'':10s}  clock s  processor s   medians of {options.repeats}")
    for name, (clock, processor) in medians.items():
        print(f"{name:10s} {clock:8.2f} {processor:12.2f}")
    clock, processor = (
        ours / theirs for ours, theirs in zip(medians["generate"], medians["imports"], strict=True)
    )
    print(f"{'ratio':10s} {clock:8.2f} {processor:12.2f}")
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
