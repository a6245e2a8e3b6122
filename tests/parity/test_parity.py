"""The parity table under pytest: one test a line."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from check import Check
from checks import all_checks
from reference import Reference, reference_folder

FOLDER = reference_folder()
IS_THERE = (FOLDER / "meta.json").is_file()


def lines():
    for check in all_checks(Reference(FOLDER)) if IS_THERE else []:
        marks = [pytest.mark.slow] if check.is_slow else []
        yield pytest.param(check, id=check.name, marks=marks)


@pytest.mark.parametrize("check", list(lines()))
def test_equals_the_release(check: Check):
    assert check.measure() <= check.tolerance


def test_reference_folder_is_there(reference: Path):
    """Skips loudly without the folder, and fails under CI=true."""
    assert reference == FOLDER


def test_a_wrong_tensor_is_seen():
    """The measure itself must be able to fail."""
    import torch
    from check import error

    right = torch.zeros(2, 3)
    assert error(right, right) == 0.0
    assert error(right + 1e-3, right) > 1e-4
    assert error(right[:1], right) == float("inf")
    assert error(right * float("nan"), right) == float("inf")
