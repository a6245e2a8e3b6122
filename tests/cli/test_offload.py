"""`--offload`: less memory, and not a byte of difference."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

Run = Callable[..., Result]


@pytest.mark.parametrize(
    "command",
    [
        ("generate", "a star", "--steps", 1, "--seed", 1),
        ("ask", "Who are you?", "--max-new-tokens", 4),
        ("chat", "--max-new-tokens", 4),
    ],
)
def test_offloading_changes_no_output(run: Run, tiny_folder: Path, command: tuple[str | int, ...]):
    outputs = []
    for offload in ([], ["--offload", "parts"], ["--offload", "blocks"]):
        result = run(*command, "-m", tiny_folder, *offload, says="Who are you?\n")
        assert result.exit_code == 0, result.output
        outputs.append((result.stdout, Path("out.png").exists() and Path("out.png").read_bytes()))
    assert outputs[0] == outputs[1] == outputs[2]


def test_unknown_ways_to_offload_are_refused(run: Run, tiny_folder: Path):
    result = run("ask", "Who are you?", "-m", tiny_folder, "--offload", "layers")
    assert result.exit_code == 2
    assert "layers" in result.output
