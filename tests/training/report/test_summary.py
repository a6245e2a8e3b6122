"""A log line: every number against one worked out by hand."""

import math
from pathlib import Path

import pytest
import torch

from janusflow.training.engine.loop import StepReport
from janusflow.training.report.log import in_words, peak_memory, summarise

STATUS = Path("/proc/self/status")
TALLIES = [
    {
        **{"samples": 4, "understanding": 1, "generation": 3, "text": 0},
        **{"tokens": 90, "positions": 100, "understanding_images": 2, "generation_images": 3},
    },
    {
        **{"samples": 6, "understanding": 1, "generation": 4, "text": 1},
        **{"tokens": 180, "positions": 200, "understanding_images": 1, "generation_images": 4},
    },
]


def report(index: int, **losses: float) -> StepReport:
    return StepReport(
        step=index + 1,
        losses={name: torch.tensor(value) for name, value in losses.items()},
        grad_norm=torch.tensor(1.0 + index),
        learning_rate=0.1 * (index + 1),
        batch_stats=TALLIES[index],
        seconds_waiting=0.5 + index,
    )


def test_rates_and_shares_are_those_of_all_steps_together():
    line = summarise([report(0), report(1)], seconds=5.0)
    assert line == pytest.approx(
        {
            "grad_norm": 1.5,
            "learning_rate": 0.2,
            "samples_per_second": 2.0,
            "tokens_per_second": 54.0,
            "images_per_second": 2.0,
            "padding_share": 0.1,
            "understanding_share": 0.2,
            "generation_share": 0.7,
            "text_share": 0.1,
            "waiting_share": 0.4,
            "memory_gib": line["memory_gib"],
        }
    )


def test_a_loss_is_the_mean_of_the_steps_that_had_it_and_of_numbers_only():
    reports = [report(0, fit=1.0, text=4.0), report(1, fit=3.0)]
    line = summarise(reports, seconds=1.0)
    assert (line["fit"], line["text"]) == (2.0, 4.0)
    line = summarise([report(0, fit=1.0), report(1, fit=math.nan)], seconds=1.0)
    assert line["fit"] == 1.0
    assert "fit" not in summarise([report(0, fit=math.inf)], seconds=1.0)


def test_mfu_is_of_what_all_steps_did_and_absent_where_it_is_not_known():
    mfu = lambda batch_stats, seconds: batch_stats["tokens"] / seconds  # noqa: E731
    assert summarise([report(0), report(1)], seconds=5.0, mfu=mfu)["mfu"] == 270 / 5.0
    assert "mfu" not in summarise([report(0)], seconds=5.0)


def test_an_objective_without_rows_has_no_shares_of_them():
    bare = StepReport(
        step=1,
        losses={},
        grad_norm=torch.tensor(1.0),
        learning_rate=0.1,
        batch_stats={"samples": 2},
    )
    line = summarise([bare], seconds=1.0)
    assert line["samples_per_second"] == 2.0
    assert not {"tokens_per_second", "padding_share", "text_share"} & set(line)


@pytest.mark.skipif(
    torch.cuda.is_available() or not STATUS.exists(), reason="asks Linux for the host's memory"
)
def test_memory_is_the_most_the_process_has_held():
    (line,) = [line for line in STATUS.read_text().splitlines() if line.startswith("VmHWM")]
    assert peak_memory() == pytest.approx(1024 * int(line.split()[1]), rel=0.01)


def test_the_words_say_what_the_numbers_say():
    line = summarise([report(0, flow=0.5), report(1, flow=0.6)], seconds=5.0) | {"memory_gib": 1.5}
    assert in_words(line, losses=["flow", "text"]) == (
        "flow 0.550, grad norm 1.50, learning rate 2.0e-01, 54 tokens/s, 2.0 images/s, "
        "2.0 samples/s, padding 10.0%, waiting 40%, 1.5 GiB, 20% understanding, 70% generation, "
        "10% text"
    )
