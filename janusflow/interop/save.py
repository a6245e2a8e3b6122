"""Write a model in the release's layout."""

import json
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from janusflow.interop.hub import CONFIG
from janusflow.interop.load import shapes_of
from janusflow.interop.names import TRAINING_ONLY, official_shapes, row_to_official, rows_of
from janusflow.interop.release_config_writing import config_to_official
from janusflow.interop.weight_files import SAFETENSORS
from janusflow.model.modeling import JanusFlowForConditionalGeneration


def official_state(model: JanusFlowForConditionalGeneration) -> dict[str, Tensor]:
    """The model's weights under the release's names, views where nothing has to be joined."""
    rows = rows_of(model.config)
    official_shapes(rows, shapes_of(model))  # refuses a model the table does not cover
    state = model.state_dict()
    return {name: tensor for row in rows for name, tensor in row_to_official(row, state)}


def save_official(model: JanusFlowForConditionalGeneration, folder: Path) -> tuple[str, ...]:
    """Write config.json and model.safetensors; the names of ours that were left out are returned.

    Raises:
        CheckpointError: the release's layout cannot hold this network.
    """
    settings = config_to_official(model.config)
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in official_state(model).items()}
    save_file(weights, folder / SAFETENSORS, metadata={"format": "pt"})
    # Sorted and indented as transformers writes it, and so as the release's file is.
    text = json.dumps(settings, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    (folder / CONFIG).write_text(text, encoding="utf-8")
    return tuple(name for name in model.state_dict() if name.startswith(TRAINING_ONLY))
