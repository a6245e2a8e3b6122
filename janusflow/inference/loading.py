"""`janusflow.load`: a model's name to the `jf` object, on the best device, in the right dtype.

A name is `mini`, a folder (ours, the release's, a training run's, or what JanusFlowPipeline saved),
or a hub id. Nothing is downloaded but a hub id's own files, and those only if they are not cached.
"""

from functools import partial
from pathlib import Path
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.inference.adapters import Adapters, base_of, read_adapters, refuse_adapters
from janusflow.inference.memory.offload import (
    Offloading,
    check_offload,
    offload_vae,
    offloaded_model,
)
from janusflow.inference.memory.quantization import check_quantization, quantized_model
from janusflow.inference.pipeline import JanusFlow
from janusflow.interop.hub import MINI, find_model
from janusflow.interop.load import load_model
from janusflow.interop.vae import find_vae, load_vae
from janusflow.mini import knowledge
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.processor import JanusFlowProcessor

PIPELINE_INDEX = "model_index.json"
"""In a folder that diffusers' pipelines save: each of their parts is a folder in it."""
DTYPES = {
    "float32": torch.float32,
    "fp32": torch.float32,
    "bfloat16": torch.bfloat16,
    "bf16": torch.bfloat16,
    "float16": torch.float16,
    "fp16": torch.float16,
}


def load(  # noqa: PLR0913 (what people set, each by its name)
    name: str | Path = MINI,
    *,
    device: str | torch.device = "auto",
    dtype: str | torch.dtype = "auto",
    quantize: str | None = None,
    compile: bool = False,
    offload: str | None = None,
    adapter: Adapters = None,
    vae: str | Path | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
) -> JanusFlow:
    """Load a model to draw and answer with, every weight in one dtype.

    Args:
        name: "mini", a folder, or a hub id such as "deepseek-ai/JanusFlow-1.3B"; or a run that
            has left an adapter, which stands for its base with it.
        device: "auto" is CUDA, else Apple's MPS, else the CPU; or any torch device.
        dtype: "auto" is bfloat16 on CUDA devices that have it, else float32; or float32, bfloat16
            or float16, a name or torch's. The VAE overflows in float16, so there it is float32.
        quantize: "int8" for an 8-bit language model on the CPU: half the time, about 2% error
            a layer; the weights cannot be saved again.
        compile: draw with torch.compile on the language model; the first image takes long.
        offload: "parts" keeps in memory what runs together (the tower; the LLM, with words or with
            the drawing parts; the VAE), "blocks" one block of one of them: least, and slowest.
        adapter: "PATH" or "PATH:WEIGHT", a folder or hub id; several in a list, or by name. They
            are on, and their changes add up (docs/adapters.md).
        vae: folder or hub id of the VAE; by default what the model's config names.
        revision: branch, tag or commit of a hub id.
        token: for a hub id that is not public.

    Raises:
        CheckpointError: there is no such model, or its files are missing or do not fit.
        ConfigError: device, dtype, quantize, offload or adapter are wrong, or do not go together.
    """
    wanted = read_adapters(adapter)
    target = choose_device(device)
    kind = choose_dtype(dtype, target)
    _check_modes(target, quantize, offload, compile=compile)
    name, own = base_of(name, revision=revision, token=token)
    if own + wanted and (quantize or offload):
        refuse_adapters("quantize" if quantize else "offload")
    folder = find_model(name, revision=None if own else revision, token=token)
    offloading = None if offload is None else Offloading(offload, device=target)
    model = _load_model_of(folder, kind, target, quantize, offloading)
    jf = JanusFlow(
        model=model,
        processor=JanusFlowProcessor.from_pretrained(_part(folder, "processor") or folder),
        vae=_load_vae_of(model, folder, vae, kind, target, offloading),
        name=str(name),
        offloading=offloading,
        knowledge=knowledge if name == MINI else None,
    )
    for each in own + wanted:
        tag = revision if each in own else None  # a revision is that of what was named
        jf.load_adapter(each.path, each.name, weight=each.weight, revision=tag, token=token)
    if compile:
        model.llm.base_model.compile()
    return jf


def _check_modes(
    device: torch.device, quantize: str | None, offload: str | None, *, compile: bool
) -> None:
    if quantize is not None:
        check_quantization(quantize, device)
    if offload is not None:
        check_offload(offload, quantize=quantize, compile=compile)


def _load_model_of(
    folder: Path,
    dtype: torch.dtype,
    device: torch.device,
    quantize: str | None,
    offloading: Offloading | None,
) -> JanusFlowForConditionalGeneration:
    if offloading is not None:
        return offloaded_model(folder, offloading, dtype)
    if quantize is not None:
        return quantized_model(folder, dtype)
    return load_model(folder, dtype=dtype, device=device)


def _load_vae_of(
    model: JanusFlowForConditionalGeneration,
    folder: Path,
    named: str | Path | None,
    dtype: torch.dtype,
    device: torch.device,
    offloading: Offloading | None,
) -> AutoencoderKL:
    """The VAE that goes with a model; the model's config then says where it lies."""
    # So that a config that is saved somewhere else still means something.
    where = named or _part(folder, "vae") or model.config.vae
    model.config.vae = str(find_vae(where, beside=folder).resolve())
    vae_dtype = torch.float32 if dtype == torch.float16 else dtype
    read = partial(load_vae, model.config.vae, dtype=vae_dtype)
    vae = read(device=device)
    check_latents(model, vae)
    if offloading is not None:
        offload_vae(vae, offloading, again=read)
    return vae


def _part(folder: Path, name: str) -> Path | None:
    """The folder of a part where JanusFlowPipeline saved it, beside the model's."""
    return folder.parent / name if (folder.parent / PIPELINE_INDEX).is_file() else None


def check_latents(model: JanusFlowForConditionalGeneration, vae: AutoencoderKL) -> None:
    """Refuse a VAE whose latents are not the model's."""
    found, wanted = vae.config["latent_channels"], model.config.generation.latent_channels
    if found != wanted:
        raise CheckpointError(
            f"the VAE has {found} latent channels, the model draws {wanted}: pass the VAE it was "
            "trained with (vae=)."
        )


def choose_device(name: str | torch.device) -> torch.device:
    """The device a name stands for, checked to be there."""
    if name == "auto":
        best = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else best)
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigError(f"device={name!r} is unknown: use auto, cpu, cuda or mps.") from error
    is_there = {"cuda": torch.cuda.is_available, "mps": torch.backends.mps.is_available}
    if device.type in is_there and not is_there[device.type]():
        raise ConfigError(
            f"device={name!r}: this PyTorch ({torch.__version__}) finds none: use auto or cpu."
        )
    return device


def choose_dtype(name: str | torch.dtype, device: torch.device) -> torch.dtype:
    """The dtype a name stands for on a device; torch's own stand for themselves."""
    if name in DTYPES.values():
        return cast(torch.dtype, name)
    if name == "auto":
        # Processors without fast bfloat16 (AVX2) are 7 times slower in it than in float32.
        is_fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_fast else torch.float32
    if not isinstance(name, str) or name not in DTYPES:
        raise ConfigError(f"dtype={name!r}: use auto, float32, bfloat16 or float16.")
    return DTYPES[name]
