"""Fixtures that tests of several folders share."""

import os
from pathlib import Path

import pytest

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
