"""Any checkpoint of a run as a model's or an adapter's folder: averaged, or as it was trained."""

from pathlib import Path

import torch

from janusflow.config.errors import CheckpointError
from janusflow.interop.hub import RUN_ADAPTER, RUN_MODEL
from janusflow.interop.load import load_model
from janusflow.interop.saving import write_folder
from janusflow.interop.vae import SUBFOLDER, load_vae
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.training.engine.checkpoint import COMPLETE, newest_checkpoint, read_checkpoint
from janusflow.training.recipes import ECHO, read_stage
from janusflow.training.stage.build_model import load_processor_and_vae, start_model
from janusflow.training.stage.freezing import set_trainable
from janusflow.tuning.files import save_adapter


def find_checkpoint(path: Path, *, is_live: bool = False) -> Path | None:
    """The checkpoint that a folder stands for: itself, or a run's newest.

    Of a run that has left its model or adapter, only live weights are taken from a checkpoint.
    """
    if (path / COMPLETE).is_file():
        return path
    is_done = any((path / name).is_dir() for name in (RUN_MODEL, RUN_ADAPTER))
    return None if is_done and not is_live else newest_checkpoint(path)


def export_checkpoint(path: Path, folder: Path, *, is_live: bool = False) -> None:
    """Write a model folder with a checkpoint's weights; of a stage with `tune` an adapter's folder.

    What the run froze, its processor and its VAE come from the run's own `model/`, before it has
    one from where the run's recipe starts.

    Raises:
        CheckpointError: the checkpoint or what the run froze is missing or damaged, or the
            checkpoint has no such weights.
    """
    run = path.parent.parent
    source = run / RUN_MODEL
    if source.is_dir():
        processor, vae = JanusFlowProcessor.from_pretrained(source), load_vae(source / SUBFOLDER)
        model, base = load_model(source), None
    else:
        recipe = read_stage(run / ECHO)
        torch.manual_seed(recipe.loop.seed)  # a frozen part may be a new one
        processor, vae = load_processor_and_vae(recipe)
        model, base = start_model(recipe, processor), None
        if recipe.tune is not None:
            set_trainable(model, recipe)
            base = recipe.start
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
    if base is not None:
        save_adapter(model, folder, base=base)
        return
    write_folder(folder, model=model, processor=processor, vae=vae)
