"""What a line of the log says of the steps since the last one, as numbers and in words."""

import math
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import torch

from janusflow.data.batches.mixture import KINDS
from janusflow.training.engine.loop import StepReport
from janusflow.training.estimate.utilisation import Utilisation

GIB = 2**30


def summarise(
    reports: Sequence[StepReport], *, seconds: float, mfu: Utilisation | None = None
) -> dict[str, float]:
    """Means of losses and gradient norm over some steps, and rates by the clock.

    Reads the losses from the device. Values that are no number are left out of a mean.
    """
    line: dict[str, float] = {}
    for name in dict.fromkeys(name for report in reports for name in report.losses):
        line |= _mean(name, [float(r.losses[name]) for r in reports if name in r.losses])
    line |= _mean("grad_norm", [float(report.grad_norm) for report in reports])
    line["learning_rate"] = reports[-1].learning_rate
    tally: Counter[str] = Counter()
    for report in reports:
        tally.update(report.tally)
    line["samples_per_second"] = tally["samples"] / seconds
    line |= _of_rows(tally, seconds)
    line["waiting_share"] = sum(report.seconds_waiting for report in reports) / seconds
    line["memory_gib"] = peak_memory() / GIB
    if mfu is not None:
        line["mfu"] = mfu(tally, seconds)
    return line


def _mean(name: str, values: Sequence[float]) -> dict[str, float]:
    finite = [value for value in values if math.isfinite(value)]
    return {name: sum(finite) / len(finite)} if finite else {}


def _of_rows(tally: Mapping[str, int], seconds: float) -> dict[str, float]:
    """What only packed rows have."""
    if not tally["positions"]:
        return {}
    num_pictures = tally["understanding_images"] + tally["generation_images"]
    return {
        "tokens_per_second": tally["tokens"] / seconds,
        "images_per_second": num_pictures / seconds,
        "padding_share": 1 - tally["tokens"] / tally["positions"],
        **{f"{kind}_share": tally[kind] / tally["samples"] for kind in KINDS},
    }


def peak_memory() -> int:
    """Most memory the process has held so far, in bytes: of the GPU, or without one of the host."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def in_words(line: Mapping[str, float], *, losses: Sequence[str]) -> str:
    """A log line for people, e.g. `flow 0.512, grad norm 0.83, ..., 12,300 tokens/s`."""
    told = [f"{name} {line[name]:.3f}" for name in losses if name in line]
    shares = [f"{line[f'{kind}_share']:.0%} {kind}" for kind in KINDS if f"{kind}_share" in line]
    for name, form in {
        "grad_norm": "grad norm {:.2f}",
        "learning_rate": "learning rate {:.1e}",
        "tokens_per_second": "{:,.0f} tokens/s",
        "images_per_second": "{:.1f} images/s",
        "samples_per_second": "{:.1f} samples/s",
        "padding_share": "padding {:.1%}",
        "waiting_share": "waiting {:.0%}",
        "memory_gib": "{:.1f} GiB",
        "mfu": "MFU {:.0%}",
    }.items():
        if name in line:
            told.append(form.format(line[name]))
    return ", ".join(told + shares)
