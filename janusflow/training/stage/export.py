"""Any checkpoint of a run as a model folder: its average, or the weights as they were trained."""

from pathlib import Path

import torch

from janusflow.config.errors import CheckpointError
from janusflow.interop.load import load_model
from janusflow.interop.saving import write_folder
from janusflow.interop.vae import SUBFOLDER, load_vae
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.engine.checkpoint import COMPLETE, newest_checkpoint, read_checkpoint
from janusflow.training.recipes import ECHO, read_stage
from janusflow.training.stage.build_model import MODEL, start_model


def find_checkpoint(path: Path, *, is_live: bool = False) -> Path | None:
    """The checkpoint that a folder stands for: itself, or a run's newest.

    Of a run that has left its model, only the live weights are taken from a checkpoint.
    """
    if (path / COMPLETE).is_file():
        return path
    return None if (path / MODEL).is_dir() and not is_live else newest_checkpoint(path)


def export_checkpoint(path: Path, folder: Path, *, is_live: bool = False) -> None:
    """Write a model folder with a checkpoint's weights.

    What the run froze, its processor and its VAE come from the run's own `model/`, before it has
    one from where the run's recipe starts.

    Raises:
        CheckpointError: the checkpoint or what the run froze is missing or damaged, or the
            checkpoint has no such weights.
    """
    run = path.parent.parent
    source = run / MODEL
    if source.is_dir():
        processor, vae = JanusFlowProcessor.from_pretrained(source), load_vae(source / SUBFOLDER)
        model = load_model(source)
    else:
        recipe = read_stage(run / ECHO)
        torch.manual_seed(recipe.loop.seed)  # a frozen part may be a new one
        processor, vae = JanusFlowProcessor.from_pretrained(recipe.processor), load_vae(recipe.vae)
        model = start_model(recipe, processor)
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
            f"{run} does not know: name a checkpoint of a stage"
            f"{'' if is_live else ', or take its live weights if it kept no average'}."
        )
    model.load_state_dict(weights, strict=False)
    write_folder(folder, model=model, processor=processor, vae=vae)
