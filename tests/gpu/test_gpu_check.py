"""benchmarks/gpu_check.py on a CPU: every part runs, and the page tells what failed."""

import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import gpu_check
from gpu_check import OWN_PARTS, Part, page, parts, run

QUICK = Namespace(device="cpu", quick=True, official=None)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN_PARTS)
def test_every_part_runs_on_a_cpu(
    name: str, reference: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("JANUSFLOW_REFERENCE", str(reference))
    OWN_PARTS[name](QUICK)
    assert "float32" in capsys.readouterr().out


def test_a_part_that_fails_or_takes_too_long_is_told_and_ends_nothing():
    python = [sys.executable, "-c"]
    outcomes = [
        run(part, device="cpu")
        for part in (
            Part("right", 60, [*python, "print('all well')"]),
            Part("wrong", 60, [*python, "import sys; sys.exit('no card')"]),
            Part("slow", 1, [*python, "import time; time.sleep(60)"]),
        )
    ]
    verdicts = [each.verdict for each in outcomes]
    assert verdicts == ["passed", "FAILED (exit code 1)", "STOPPED after its 1 s"]
    text = page(outcomes, device="cpu")
    assert "all well" in text
    assert "no card" in text
    assert all(f"| {verdict} |" in text for verdict in verdicts)


def test_all_parts_together_take_at_most_eight_minutes():
    """Budgets are what a part is stopped after; the start of a process is within it."""
    given = {"device": "cuda", "quick": False, "weights": Path("w"), "official_python": "python"}
    planned = parts(Namespace(official=Path("Janus"), **given))
    assert [part.name for part in planned] == ["card", "tests", "parity", "bench", "training"]
    assert sum(part.seconds for part in planned) <= 480


@pytest.mark.slow
def test_the_page_is_written(tmp_path: Path):
    file = tmp_path / "page.md"
    command = [sys.executable, gpu_check.__file__, "--device", "cpu", "--quick", "--page", file]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, file.read_text(encoding="utf-8")
    assert file.read_text(encoding="utf-8").count("| passed |") == 4
