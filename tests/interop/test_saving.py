"""A model's files are written without a progress bar, and other bars are left as they were."""

from pathlib import Path

import pytest
from tiny_model import tiny_model
from transformers.utils import logging

from janusflow.interop.saving import write_model


@pytest.mark.parametrize("is_enabled", [True, False])
def test_nothing_is_said_and_bars_stay_on_or_off(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], is_enabled: bool
):
    (logging.enable_progress_bar if is_enabled else logging.disable_progress_bar)()
    try:
        write_model(tiny_model(), tmp_path)
        assert logging.is_progress_bar_enabled() == is_enabled
    finally:
        logging.enable_progress_bar()
    assert (tmp_path / "model.safetensors").is_file()
    assert capfd.readouterr() == ("", "")
