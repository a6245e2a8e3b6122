"""Which parts of a model become graphs, by tensors alone: no prompts, no loops, no Python.

| graph | what it does |
|---|---|
| tower | pixels to understand -> patch features |
| decoder | tokens, features of images among them and the cache -> logits, longer cache |
| velocity | noisy latents, times and the cache of their prompts -> velocities |
| vae_decoder | latents -> pixels |
| vae_encoder | pixels -> latents |

The decoder reads a prompt when the cache is empty, and one more token after that. A cache is one
tensor: layer, key or value, row, head, position, width.
"""

from dataclasses import dataclass

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

from janusflow.config.errors import ConfigError
from janusflow.interop.vae import decode_images, encode_images
from janusflow.model.attention import NO_IMAGE, number_images
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache

# Sizes of the examples that are traced. All differ, and none is 0 or 1: an axis of such a length is
# taken for one that never changes.
BATCH, TOKENS, PAST, IMAGES = 2, 7, 5, 3
ROWS, CACHE = {0: "batch"}, {2: "batch", 4: "past"}
"""Axes of any length, of what has a row for each image and of caches."""


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A part of the model, with all that an exporter wants to know of it."""

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    """Examples."""
    axes: dict[str, dict[int, str]]
    """Of every input, which axes may have any length, and what these are called."""
    outputs: tuple[str, ...]


class Tower(nn.Module):
    """What the understanding encoder makes of images."""

    def __init__(self, model: JanusFlowForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixel_values: Float[Tensor, "n c y x"]) -> Float[Tensor, "n p w"]:
        """Patch features, before the aligner."""
        return self.model.image_features(pixel_values)


class Decoder(nn.Module):
    """The LLM with its head: reads a prompt, or after it the next tokens."""

    def __init__(self, model: JanusFlowForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        token_ids: Int[Tensor, "b t"],
        attention_mask: Int[Tensor, "b s_and_t"],
        position_ids: Int[Tensor, "b t"],
        image_features: Float[Tensor, "n p w"],
        cache: Float[Tensor, "l 2 b g s h"],
    ) -> tuple[Float[Tensor, "b v"], Float[Tensor, "l 2 b g s_and_t h"]]:
        """Logits of what follows the last token, and the longer cache.

        `image_features` are of the images whose start tags and placeholders are among the tokens,
        in reading order; none where there are none.
        """
        model = self.model
        numbers = number_images(token_ids, model.config)
        if numbers is not None:
            numbers = pad(numbers, (cache.shape[-2], 0), value=NO_IMAGE)
        output = model(
            inputs_embeds=model.embed_conversation(token_ids, features=image_features),
            attention_mask=attention_mask,
            position_ids=position_ids,
            cache=_as_cache(cache, model),
            block_sequence_ids=numbers,
            use_cache=True,
            logits_to_keep=1,
        )
        return output.logits[:, -1], as_tensor(output.cache)


class Velocity(nn.Module):
    """One evaluation of the flow."""

    def __init__(self, model: JanusFlowForConditionalGeneration) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        x_t: Float[Tensor, "b c y x"],
        t: Float[Tensor, " b"],
        cache: Float[Tensor, "l 2 b g s h"],
        attention_mask: Int[Tensor, "b s"],
        next_position: Int[Tensor, " b"],
    ) -> Float[Tensor, "b c y x"]:
        """Data - noise, given the cache that the decoder made of the prompts."""
        prefix = PrefixCache(
            cache=_as_cache(cache, self.model),
            attention_mask=attention_mask,
            next_position=next_position,
        )
        return self.model.velocity(x_t, t, prefix)


class VaeDecoder(nn.Module):
    """From latents to pixels."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, latents: Float[Tensor, "b c y x"]) -> Float[Tensor, "b 3 y x"]:
        """Pixels, about in [-1, 1]."""
        return decode_images(self.vae, latents)


class VaeEncoder(nn.Module):
    """From pixels to latents."""

    def __init__(self, vae: AutoencoderKL) -> None:
        super().__init__()
        self.vae = vae

    def forward(self, pixels: Float[Tensor, "b 3 y x"]) -> Float[Tensor, "b c y x"]:
        """The mean of the latents of pixels in [-1, 1]."""
        return encode_images(self.vae, pixels)


def make_graphs(
    model: JanusFlowForConditionalGeneration, vae: AutoencoderKL, *, image_size: int
) -> list[Graph]:
    """All graphs of a model, with examples for tracing.

    Args:
        model: in float32 on the CPU; see `refuse_unexportable`.
        vae: likewise.
        image_size: rows and columns of a drawn image, in pixels.
    """
    vision, flow = model.config.vision_config, model.config.generation
    pixels = torch.rand(IMAGES, vision.num_channels, vision.image_size, vision.image_size)
    with torch.no_grad():
        features = model.image_features(pixels)
        empty = empty_cache(model, rows=BATCH)
    cache = torch.randn(*empty.shape[:-2], PAST, empty.shape[-1])
    latents = torch.randn(BATCH, flow.latent_channels, flow.latent_size, flow.latent_size)
    tower = Graph(
        name="tower",
        module=Tower(model),
        inputs={"pixel_values": pixels},
        axes={"pixel_values": {0: "images"}},
        outputs=("image_features",),
    )
    vae_decoder = Graph(
        name="vae_decoder",
        module=VaeDecoder(vae),
        inputs={"latents": latents},
        axes={"latents": ROWS},
        outputs=("pixels",),
    )
    vae_encoder = Graph(
        name="vae_encoder",
        module=VaeEncoder(vae),
        inputs={"pixels": torch.rand(BATCH, 3, image_size, image_size)},
        axes={"pixels": ROWS},
        outputs=("latents",),
    )
    llm = [_decoder(model, features, cache), _velocity(model, latents, cache)]
    return [tower, *llm, vae_decoder, vae_encoder]


def _decoder(model: JanusFlowForConditionalGeneration, features: Tensor, cache: Tensor) -> Graph:
    tokens = {0: "batch", 1: "tokens"}
    return Graph(
        name="decoder",
        module=Decoder(model),
        inputs={
            "token_ids": torch.full((BATCH, TOKENS), model.config.bos_token_id),
            "attention_mask": torch.ones(BATCH, PAST + TOKENS, dtype=torch.int64),
            "position_ids": torch.arange(PAST, PAST + TOKENS).repeat(BATCH, 1),
            "image_features": features,
            "cache": cache,
        },
        axes={
            "token_ids": tokens,
            "attention_mask": {0: "batch", 1: "past_and_tokens"},
            "position_ids": tokens,
            "image_features": {0: "images"},
            "cache": CACHE,
        },
        outputs=("logits", "longer_cache"),
    )


def _velocity(model: JanusFlowForConditionalGeneration, latents: Tensor, cache: Tensor) -> Graph:
    return Graph(
        name="velocity",
        module=Velocity(model),
        inputs={
            "x_t": latents,
            "t": torch.rand(BATCH),
            "cache": cache,
            "attention_mask": torch.ones(BATCH, PAST, dtype=torch.int64),
            "next_position": torch.full((BATCH,), PAST),
        },
        axes={
            "x_t": ROWS,
            "t": ROWS,
            "cache": CACHE,
            "attention_mask": {0: "batch", 1: "past"},
            "next_position": ROWS,
        },
        outputs=("velocity",),
    )


def refuse_unexportable(model: JanusFlowForConditionalGeneration) -> None:
    """Refuse models whose graphs would need more than one plain cache, or latents to understand.

    Raises:
        ConfigError: saying which.
    """
    config = model.config
    if config.uses_latent_input:
        raise ConfigError(
            f"understanding_input={config.understanding_input}: the model understands latents, and "
            "the exported tower takes pixels. Export a model with understanding_input=tower."
        )
    kinds = {type(layer).__name__ for layer in DynamicCache(config=config.llm_config).layers}
    if kinds - {DynamicLayer.__name__}:
        raise ConfigError(
            f"the LLM ({config.llm_config.model_type}) keeps {', '.join(sorted(kinds))}: only LLMs "
            "that keep the keys and values of all positions are exported, without sliding windows."
        )


def empty_cache(
    model: JanusFlowForConditionalGeneration, *, rows: int
) -> Float[Tensor, "l 2 b g 0 h"]:
    """What the decoder is given where nothing was read yet."""
    read = model(torch.full((rows, 1), model.config.bos_token_id), use_cache=True)
    return as_tensor(read.cache)[..., :0, :]


def as_tensor(cache: DynamicCache) -> Float[Tensor, "l 2 b g s h"]:
    """Keys and values of all layers in one."""
    kinds = ("keys", "values")
    return torch.stack(
        [torch.stack([getattr(layer, kind) for kind in kinds]) for layer in cache.layers]
    )


def _as_cache(
    tensor: Float[Tensor, "l 2 b g s h"], model: JanusFlowForConditionalGeneration
) -> DynamicCache:
    cache = DynamicCache(config=model.config.llm_config)
    for index in range(tensor.shape[0]):
        cache.update(tensor[index, 0], tensor[index, 1], index)
    return cache
