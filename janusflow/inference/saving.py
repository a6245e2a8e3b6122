"""Write a whole model folder: everything that `janusflow.load` needs, the VAE included."""

import json
from pathlib import Path

from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from torch import nn

from janusflow.config.errors import CheckpointError
from janusflow.inference.memory.offload import Offloading
from janusflow.interop.hub import CONFIG
from janusflow.interop.saving import write_model
from janusflow.interop.vae import SUBFOLDER
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor


def check_whole(
    name: str, folder: str | Path, *, is_quantized: bool, offloading: Offloading | None
) -> None:
    """Refuse to write a model whose weights are no longer all there.

    Raises:
        CheckpointError: they were quantized, or are not in memory.
    """
    if is_quantized:
        raise CheckpointError(
            f"{folder}: {name} was loaded with quantize, its weights are gone: load it without and "
            "save that."
        )
    if offloading is not None:
        raise CheckpointError(
            f"{folder}: {name} was loaded with offload={offloading.mode}, most of its weights are "
            "not in memory: load it without and save that."
        )


def write_folder(
    folder: Path,
    *,
    model: JanusFlowForConditionalGeneration,
    processor: JanusFlowProcessor,
    vae: AutoencoderKL,
) -> None:
    """Write our layout, every weight in the model's dtype."""
    # What has not run yet may be as its file has it (first_use.py).
    nn.Module.to(model, model.dtype)
    write_model(model, folder)
    processor.save_pretrained(folder)
    vae.save_pretrained(folder / SUBFOLDER)
    config = folder / CONFIG
    # On disk only: the VAE lies beside the weights now, wherever this one came from.
    settings = json.loads(config.read_text(encoding="utf-8")) | {"vae": SUBFOLDER}
    text = json.dumps(settings, indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    config.write_text(text, encoding="utf-8")
