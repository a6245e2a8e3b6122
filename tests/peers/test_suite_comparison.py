"""The comparison of transformers' own tests with what is expected of them."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "transformers_suite"))

import compare
from compare import Outcomes, differences


@pytest.fixture
def found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Outcomes:
    """Tests of which none is as expected, and one that is."""
    expected = tmp_path / "expected.toml"
    expected.write_text(
        """
        [fails.modeling]
        "test_sdpa_*" = "why"
        test_mended = "why"
        test_removed = "why"
        [skips]
        reasons = ["test requires"]
        """
    )
    monkeypatch.setattr(compare, "EXPECTED", expected)
    found = Outcomes()
    failed = {"test_sdpa_1": "known", "test_new": "new"}
    skipped = {"test_gpu": "test requires CUDA", "test_hidden": "no chat template"}
    found.failures = {f"modeling.{name}": why for name, why in failed.items()}
    found.skips = {f"modeling.{name}": why for name, why in skipped.items()}
    found.ran = {*found.failures, *found.skips, "modeling.test_mended", "modeling.test_fine"}
    return found


def test_every_difference_is_told_with_what_to_do(found: Outcomes):
    assert differences(found, is_whole=True) == [
        "fails: modeling.test_new: new",
        "passes: modeling.test_mended: take it out of expected.toml",
        "is no test: modeling.test_removed: take it out of expected.toml",
        "is skipped: modeling.test_hidden: no chat template",
    ]


def test_a_part_of_the_tests_is_not_missed(found: Outcomes):
    lines = differences(found, is_whole=False)
    assert not [line for line in lines if line.startswith("is no test")]
