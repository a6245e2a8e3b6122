"""What the release's config.json says of a network, and what decides a network."""

from dataclasses import asdict, dataclass
from typing import Any

from janusflow.model.configuration import JanusFlowConfig

OFFICIAL_MODEL_TYPE = "multi_modality"
VAE_FACTOR = 8
"""Image pixels per latent cell: the release stores no latent size, its VAE fixes it."""
PATCH_SIZE = 2
"""Latent cells per token: the release's decoder has one pixel shuffle by two, and no other way."""


@dataclass(frozen=True, kw_only=True)
class Tower:
    """Sizes the release's code attaches to a `model_name`; `num_blocks` before `select_layer`."""

    hidden_size: int
    num_blocks: int
    num_heads: int
    intermediate_size: int
    patch_size: int


TOWERS = {
    "siglip_large_patch16_384": Tower(
        hidden_size=1024, num_blocks=24, num_heads=16, intermediate_size=4096, patch_size=16
    )
}


# LlamaConfig fields the release's file may hold; the release passes every key on to LlamaConfig.
_LLAMA_KEYS = (
    "hidden_size",
    "intermediate_size",
    "max_position_embeddings",
    "num_attention_heads",
    "num_hidden_layers",
    "num_key_value_heads",
    "rms_norm_eps",
    "vocab_size",
)
_LLAMA_FIXED = {
    "attention_bias": False,
    "mlp_bias": False,
    "hidden_act": "silu",
    "tie_word_embeddings": False,
}


def release_settings(config: JanusFlowConfig) -> dict[str, Any]:
    """The release's config.json for a new network."""
    llm, vision, flow = config.get_text_config(), config.vision_config, config.generation
    tower_name = next(iter(TOWERS))
    num_blocks = TOWERS[tower_name].num_blocks
    dtype = str(config.dtype or "float32").removeprefix("torch.")
    generation = {
        "block_out_channels": [flow.width],
        "hidden_size": config.hidden_size,
        "norm_eps": flow.norm_eps,
        "use_bias": True,
        "use_mid_block": True,
    }
    return {
        "architectures": ["MultiModalityCausalLM"],
        "language_config": {
            "model_type": llm.model_type,
            "torch_dtype": dtype,
            **{key: getattr(llm, key) for key in _LLAMA_KEYS if hasattr(llm, key)},
            **({} if _rope_theta(llm) is None else {"rope_theta": _rope_theta(llm)}),
        },
        "model_type": OFFICIAL_MODEL_TYPE,
        "torch_dtype": dtype,
        "vision_gen_dec_config": {
            "cls": "ShallowUViTDecoder",
            "model_type": "vision_gen_dec",
            "params": {
                **generation,
                "elementwise_affine": True,
                "in_channels": flow.width,
                "layers_in_middle": flow.num_decoder_blocks,
                "out_channels": flow.latent_channels,
                "upsamples": 1,
            },
        },
        "vision_gen_enc_config": {
            "cls": "ShallowUViTEncoder",
            "model_type": "vision_gen_enc",
            "params": {
                **generation,
                "input_channels": flow.latent_channels,
                "kernel_size": PATCH_SIZE,
                "layers_in_middle": flow.num_encoder_blocks,
                "padding": 0,
                "stride": PATCH_SIZE,
            },
        },
        "vision_und_enc_config": {
            "cls": "CLIPVisionTower",
            "model_type": "vision_und_enc",
            "params": {
                "image_size": vision.image_size,
                "model_name": tower_name,
                "select_feature": "same",
                "select_layer": -1
                if vision.num_hidden_layers == num_blocks
                else vision.num_hidden_layers,
            },
        },
    }


def network(config: JanusFlowConfig) -> dict[str, Any]:
    """Everything that decides what the network computes, under readable names."""
    llm, vision = config.get_text_config(), config.vision_config
    llm_keys = (*_LLAMA_KEYS, "model_type", "head_dim", *_LLAMA_FIXED)
    vision_keys = (
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_channels",
        "image_size",
        "patch_size",
        "hidden_act",
        "layer_norm_eps",
        "vision_use_head",
    )
    return {
        **{f"llm_config.{key}": getattr(llm, key, None) for key in llm_keys},
        "llm_config.rope_parameters": getattr(llm, "rope_parameters", None),
        **{f"vision_config.{key}": getattr(vision, key, None) for key in vision_keys},
        "understanding_input": config.understanding_input,
        "image_attention": config.image_attention,
        **{f"generation.{key}": value for key, value in asdict(config.generation).items()},
    }


def _rope_theta(llm: Any) -> float | None:
    return (getattr(llm, "rope_parameters", None) or {}).get("rope_theta")
