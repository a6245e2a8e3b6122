"""`JanusFlowConfig` -> the release's config.json: the file it came with, or a new one.

What the file cannot say is refused; see release_config.py for the way in.
"""

import copy
from dataclasses import asdict
from typing import Any

from janusflow.config.errors import CheckpointError
from janusflow.interop.release_config import (
    OFFICIAL_MODEL_TYPE,
    PATCH_SIZE,
    PLANS,
    TOWERS,
    config_from_official,
)
from janusflow.interop.tokens import TokenIds
from janusflow.model.configuration import JanusFlowConfig

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


def config_to_official(config: JanusFlowConfig) -> dict[str, Any]:
    """The release's config.json for this network: the one it came with, if that still describes it.

    Raises:
        CheckpointError: the release's layout has no way to say what this network is.
    """
    ids = TokenIds.of(config)
    if config.official is not None:
        original = config_from_official(config.official, token_ids=ids)
        if _network(original) == _network(config):
            return _with_plans(copy.deepcopy(config.official), config)
    settings = _fresh_official(config)
    differing = [
        f"{name}={_network(config)[name]!r}"
        for name, value in _network(config_from_official(settings, token_ids=ids)).items()
        if _network(config)[name] != value
    ]
    if differing:
        raise CheckpointError(
            f"the release's layout cannot hold {', '.join(differing)}: keep this model in our "
            "layout (--to janusflow)."
        )
    return _with_plans(settings, config)


def _with_plans(settings: dict[str, Any], config: JanusFlowConfig) -> dict[str, Any]:
    """Say that the model has learnt to plan, a key of ours that the release's code passes over."""
    is_said = settings.get(PLANS, False)
    return settings if is_said == config.plans else {**settings, PLANS: config.plans}


def _fresh_official(config: JanusFlowConfig) -> dict[str, Any]:
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


def _network(config: JanusFlowConfig) -> dict[str, Any]:
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
