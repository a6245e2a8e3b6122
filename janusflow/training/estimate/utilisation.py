"""Model FLOPs utilisation (PaLM, arXiv 2204.02311, appendix B): the share of the peak used.

A closed form of a step's `batch_stats`, as in torchtitan: two operations a weight and position
forward, as many backward for each of the two gradients that are needed, and attention's products.
Counted are the LLM, the tower, the generation encoder and decoder, aligners and the REPA head, with
padding; not counted are blocks that are run again, the frozen VAE and a scorer.
"""

from collections.abc import Callable, Mapping

import torch
from torch import nn

from janusflow.config.gpus import gpu_of_device
from janusflow.config.recipes import StageRecipe
from janusflow.config.training import Precision
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.training.engine.distributed import num_processes

TERA = 10**12
UNCOUNTED = ("time_embedding", "modulation", "position_embedding", "head.", "original_module.")
"""Weights that no position is multiplied with: those used once an image, the tower's pooling head,
and those that are frozen beside a copy that trains."""

Utilisation = Callable[[Mapping[str, int], float], float]
"""Tally of some steps and the seconds they took -> the share of all devices' peak (MFU)."""


def stage_mfu(recipe: StageRecipe, model: JanusFlowForConditionalGeneration) -> Utilisation | None:
    """MFU of a stage's steps, if it is known what the devices could do."""
    peak = recipe.log.peak_tflops or device_tflops(recipe.loop.parallelism.precision)
    if peak is None:
        return None
    flops = model_flops(model, aligns=recipe.objective.uses_head)
    return lambda stats, seconds: flops(stats) / (seconds * peak * TERA * num_processes())


def device_tflops(precision: Precision) -> float | None:
    """What this process's GPU can do at best, if it is one that config/gpus.py knows."""
    if not torch.cuda.is_available():
        return None
    gpu = gpu_of_device(torch.cuda.get_device_name())
    return None if gpu is None else gpu.flops(precision) / TERA


def model_flops(
    model: JanusFlowForConditionalGeneration, *, aligns: bool
) -> Callable[[Mapping[str, int]], int]:
    """Operations of any steps by their `batch_stats`, forward and backward.

    Args:
        model: its parts that train are marked, as `train_only` does.
        aligns: whether the REPA head learns from the tower's features of images to draw.
    """
    config, llm, tower = model.config, model.llm, model.understanding_encoder
    text, vision, tokens = config.llm_config, config.vision_config, config.generation.num_tokens
    patches = (vision.image_size // vision.patch_size) ** 2
    encoder = model.latent_encoder or model.generation_encoder
    # Both factors of either product of attention want a gradient, frozen weights or not.
    pair = 12 * text.num_hidden_layers * text.num_attention_heads * text.head_dim
    pairs_seen = 4 * vision.num_hidden_layers * patches**2 * vision.hidden_size
    looked = patches * _flops(tower) + _passes(tower) * pairs_seen
    seen = tokens * _flops(encoder) if config.uses_latent_input else looked
    drawn = tokens * _flops(model.generation_encoder) + tokens * sum(
        _flops(part, is_reached=True)
        for part in (
            model.generation_encoder_aligner,
            model.generation_decoder_aligner,
            model.generation_decoder,
        )
    )
    if aligns and model.repa_head is not None:  # which learns what the tower sees, forward alone
        drawn += looked // _passes(tower) + tokens * _flops(model.repa_head, is_reached=True)
    each = {
        "positions": _flops(llm.base_model.layers, is_reached=True),
        "pairs": pair,
        "logits": _flops(llm.get_output_embeddings(), is_reached=True),
        "understanding_images": seen
        + patches * _flops(model.understanding_aligner, is_reached=True),
        "generation_images": drawn,
    }
    return lambda batch_stats: sum(batch_stats[name] * flops for name, flops in each.items())


def _passes(part: nn.Module, *, is_reached: bool = False) -> int:
    """Forward, and a gradient each: of the weights if they train, of the input if one is wanted.

    Args:
        part: trains as a whole or not at all, but for an adapter in it.
        is_reached: whether parts that train come before it.
    """
    trains = any(parameter.requires_grad for parameter in part.parameters())
    return 1 + trains + (trains or is_reached)


def _flops(part: nn.Module, *, is_reached: bool = False) -> int:
    """Operations of a position: 2 for each weight that it is multiplied with, in every pass."""
    passes = _passes(part, is_reached=is_reached)
    trains = any(parameter.requires_grad for parameter in part.parameters())
    return 2 * sum(
        parameter.numel() * (passes - (trains and not parameter.requires_grad))
        for name, parameter in part.named_parameters()
        if parameter.ndim > 1 and not any(each in name for each in UNCOUNTED)
    )
