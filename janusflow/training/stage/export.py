"""Any checkpoint of a run as a model folder: its average, or the weights as they were trained."""

import shutil
from pathlib import Path

from janusflow.config.errors import CheckpointError
from janusflow.interop.load import load_model
from janusflow.interop.saving import write_model
from janusflow.training.engine.checkpoint import COMPLETE, read_checkpoint
from janusflow.training.stage.build_model import MODEL


def is_checkpoint(path: Path) -> bool:
    """Tell whether a folder is a run's checkpoint."""
    return (path / COMPLETE).is_file()


def export_checkpoint(path: Path, folder: Path, *, is_live: bool = False) -> None:
    """Write a model folder with a checkpoint's weights; `folder` must not exist.

    What the run froze, its processor and its VAE come from the run's own `model/`.

    Raises:
        CheckpointError: the checkpoint or the run's model is missing or damaged, or the checkpoint
            has no such weights.
    """
    source = path.parent.parent / MODEL
    model = load_model(source)
    prefix = "parameters.model." if is_live else "ema.model."
    weights = {
        name.removeprefix(prefix): value
        for name, value in read_checkpoint(path).items()
        if name.startswith(prefix)
    }
    unknown = weights.keys() - model.state_dict().keys()
    if not weights or unknown:
        kind = "live" if is_live else "averaged"
        raise CheckpointError(
            f"{path} has {len(weights)} {kind} weights of a JanusFlow, {len(unknown)} of which "
            f"{source} does not know: name a checkpoint of a stage"
            f"{'' if is_live else ', or take its live weights if it kept no average'}."
        )
    model.load_state_dict(weights, strict=False)
    shutil.copytree(source, folder)
    for file in folder.glob("*.safetensors*"):
        file.unlink()
    write_model(model, folder)
