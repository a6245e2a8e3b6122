"""Write model folders: ours, or the release's; what is written appears whole or not at all."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils import logging

from janusflow.config.errors import CheckpointError
from janusflow.interop.conversion import TRAINING_ONLY, to_official
from janusflow.interop.hub import CONFIG
from janusflow.interop.release_config import config_to_official
from janusflow.interop.vae import SUBFOLDER
from janusflow.interop.weight_files import SAFETENSORS
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.json_files import read_json, write_json
from janusflow.processing.processor import JanusFlowProcessor

WEIGHT_FILES = ("model*.safetensors*", "pytorch_model*.bin*")


@contextmanager
def whole_or_nothing(target: Path) -> Iterator[Path]:
    """A new folder to write into, whose files are in `target` once all has gone well.

    Weights that lie there already make room; other files stay.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    # A sibling, so that the last step is a rename within one file system.
    unfinished = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield unfinished
        unfinished.chmod(0o755)  # mkdtemp's folders are private
        if not target.exists():
            unfinished.rename(target)
            return
        for pattern in WEIGHT_FILES:
            for old in target.glob(pattern):
                old.unlink()
        for path in unfinished.iterdir():
            if path.is_dir() and (target / path.name).exists():
                shutil.rmtree(target / path.name)
            path.replace(target / path.name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def write_folder(
    folder: Path,
    *,
    model: nn.Module,
    processor: JanusFlowProcessor,
    vae: AutoencoderKL,
) -> None:
    """Write all that `janusflow.load` needs in our layout, the VAE included.

    Raises:
        CheckpointError: the model's weights are not plain, or not in memory.
    """
    for part in (model, vae):
        check_plain(part, folder)
    with whole_or_nothing(folder) as unfinished:
        write_model(cast(PreTrainedModel, model), unfinished)
        processor.save_pretrained(unfinished)
        vae.save_pretrained(unfinished / SUBFOLDER)
        config = unfinished / CONFIG
        # On disk only: the VAE lies beside the weights now, wherever this one came from.
        write_json(read_json(config) | {"vae": SUBFOLDER}, config, sort_keys=True)


def check_plain(model: nn.Module, folder: str | Path) -> None:
    """Refuse to write a model with adapters, with quantized weights, or offloaded.

    Raises:
        CheckpointError: saying which of the three it is, and what to do.
    """
    state = model.state_dict()
    if hasattr(model, "peft_config") or any(
        hasattr(part, "base_layer") for part in model.modules()
    ):
        raise CheckpointError(
            f"{folder}: the model has adapters: merge them first (jf.merge_adapters(), and then "
            "jf.save_pretrained), or unload them."
        )
    if any(type(getattr(value, "data", value)) is not Tensor for value in state.values()):
        raise CheckpointError(
            f"{folder}: the model is quantized, its own weights are gone: load it without quantize "
            "and save that."
        )
    if any(value.untyped_storage().nbytes() < value.nbytes for value in state.values()):
        raise CheckpointError(
            f"{folder}: the model is offloaded, most of its weights are not in memory: load it "
            "without offload and save that."
        )


def write_model(model: PreTrainedModel, folder: Path, **settings: Any) -> None:
    """`save_pretrained` without its progress bar, which counts files: mostly it counts one."""
    was_enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(folder, **settings)
    finally:
        if was_enabled:
            logging.enable_progress_bar()


def save_official(model: JanusFlowForConditionalGeneration, folder: Path) -> tuple[str, ...]:
    """Write config.json and model.safetensors; the names of ours that were left out are returned.

    Raises:
        CheckpointError: the release's layout cannot hold this network.
    """
    settings, state = config_to_official(model.config), model.state_dict()
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: tensor.contiguous() for name, tensor in to_official(state).items()}
    save_file(weights, folder / SAFETENSORS, metadata={"format": "pt"})
    write_json(settings, folder / CONFIG, sort_keys=True)
    return tuple(name for name in state if name.startswith(TRAINING_ONLY))
