"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import pytest
import torch

DEVICES = os.environ.get("JANUSFLOW_TEST_DEVICES", "").split(",")
"""Where tests that are marked `gpu` run; everywhere, if nothing is said."""
# No test may reach for a hub: what is not at hand is told at once, without tries that time out.
os.environ["HF_HUB_OFFLINE"] = "1"

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def reference() -> Path:
    """The folder of reference tensors: skipped loudly when absent, a failure under CI=true."""
    named = os.environ.get("JANUSFLOW_REFERENCE")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "reference"
    if (folder / "meta.json").is_file():
        return folder
    message = (
        f"NOT COMPARED WITH THE REFERENCE: no meta.json in {folder}; "
        "set JANUSFLOW_REFERENCE to the folder of reference tensors"
    )
    if os.environ.get("CI") == "true":
        pytest.fail(message)
    pytest.skip(message)


def devices() -> list[str]:
    """The kinds of processor that torch can use here."""
    accelerators = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    found = ["cpu", *(name for name, is_here in accelerators.items() if is_here)]
    return [name for name in found if name in DEVICES or DEVICES == [""]]


@pytest.fixture(scope="session", params=devices())
def device(request: pytest.FixtureRequest) -> str:
    """Each kind of processor in turn."""
    return request.param
