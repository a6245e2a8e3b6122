"""Write a model's files as `transformers` lays them out."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel
from transformers.utils import logging


def write_model(model: PreTrainedModel, folder: Path, **settings: Any) -> None:
    """`save_pretrained` without its progress bar, which counts files: mostly it counts one."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder, **settings)
    finally:
        if was_enabled:
            logging.enable_progress_bar()
