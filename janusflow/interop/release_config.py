"""config.json <-> `JanusFlowConfig`, in the release's layout and ours.

What the release's file says is kept word for word in `JanusFlowConfig.official`, so that reading
and writing it back changes nothing, including its misspelt and ignored keys. Its meaning is
checked: a value that would build another network there than here is refused. See
docs/parity-quirks.md.
"""

import copy
from pathlib import Path
from typing import Any, get_type_hints

from huggingface_hub.errors import StrictDataclassError
from transformers import LlamaConfig, SiglipVisionConfig

# Whoever reads the release's configuration may go on to read its weights (`from_pretrained`).
import janusflow.interop.conversion  # noqa: F401 (registers the mapping of names)
from janusflow.config.errors import CheckpointError, ConfigError
from janusflow.config.model import GenerationPathConfig, RepaConfig
from janusflow.interop.hub import CONFIG, folder_at_hand
from janusflow.interop.release_layout import (
    OFFICIAL_MODEL_TYPE,
    PATCH_SIZE,
    TOWERS,
    VAE_FACTOR,
    Tower,
    network,
    release_settings,
)
from janusflow.interop.tokens import TokenIds, read_token_ids
from janusflow.model.configuration import JanusFlowConfig
from janusflow.processing.json_files import read_json

SIBLING_SECTION = "gen_vision_config"
"""What Janus and Janus-Pro, of the same model_type, have in their config.json."""
PLANS = "plans"
"""The one key that the release does not know: JanusFlowConfig.plans."""


def read_settings(folder: Path) -> dict[str, Any]:
    """The folder's config.json."""
    path = folder / CONFIG
    if not path.is_file():
        what = "no config.json in this folder" if folder.is_dir() else "no such folder"
        raise CheckpointError(
            f"{folder}: {what}: pass a model folder (config.json, weights, tokenizer)."
        )
    return read_json(path)


def read_config(folder: Path) -> JanusFlowConfig:
    """The configuration of the model in a folder, the release's layout or ours."""
    return model_config(read_settings(folder), folder)


def model_config(settings: dict[str, Any], folder: Path) -> JanusFlowConfig:
    """The configuration that a folder's config.json describes.

    Raises:
        CheckpointError: naming the file and the key that is wrong.
    """
    try:
        if is_official(settings):
            return config_from_official(settings, token_ids=read_token_ids(folder))
        _check_sections(settings)
        return JanusFlowConfig.from_dict(settings)
    except (ConfigError, StrictDataclassError, TypeError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{folder / CONFIG}: {reason}") from error


def _check_sections(settings: dict[str, Any]) -> None:
    """Refuse what transformers does not check: that sections are such, and ours their values."""
    records = {"generation": GenerationPathConfig, "repa": RepaConfig}
    for name in ("llm_config", "vision_config", *records):
        section = settings.get(name) or {}
        if not isinstance(section, dict):
            raise ConfigError(f"{name}={section!r}: wanted an object with the part's settings.")
        if name in records:
            for key, wanted in get_type_hints(records[name]).items():
                _require_type(section.get(key, 1), wanted, f"{name}.{key}")


def _require_type(value: object, wanted: type, key: str) -> None:
    # A whole number is as good as a float; true and false are numbers to Python alone.
    is_right = isinstance(value, (int, float) if wanted is float else wanted)
    if not is_right or isinstance(value, bool) != (wanted is bool):
        raise ConfigError(f"{key}={value!r}: wanted a value of type {wanted.__name__}.")


def settings_in_our_layout(
    settings: dict[str, Any], where: str | Path | None = None
) -> dict[str, Any]:
    """What our config.json would say, for `JanusFlowConfig.from_pretrained` and `AutoConfig`.

    Token ids are those of the tokenizer in the folder `where`, else the release's. `AutoConfig`
    keeps its `subfolder` to itself: without a file in the folder, that which holds these settings
    is meant.
    """
    folder = folder_at_hand(where) if where is not None else None
    if folder is not None and not (folder / CONFIG).is_file():
        inside = (file.parent for file in folder.glob(f"*/{CONFIG}"))
        folder = next((each for each in inside if read_settings(each) == settings), None)
    has_tokenizer = folder is not None and (folder / "tokenizer.json").is_file()
    ids = read_token_ids(folder) if folder is not None and has_tokenizer else {}
    return config_from_official(settings, token_ids=ids).to_dict()


def is_official(settings: dict[str, Any]) -> bool:
    """Whether a config.json is the release's."""
    return settings.get("model_type") == OFFICIAL_MODEL_TYPE


def config_from_official(
    settings: dict[str, Any], *, token_ids: TokenIds, vae: str = "stabilityai/sdxl-vae"
) -> JanusFlowConfig:
    """Our configuration of the network the release would build from its config.json."""
    if not is_official(settings):
        raise CheckpointError(
            f"config.json: model_type={settings.get('model_type')!r} is not the release's "
            f"{OFFICIAL_MODEL_TYPE!r}: pass a folder with the release's layout."
        )
    if SIBLING_SECTION in settings:
        raise CheckpointError(
            f"config.json: {SIBLING_SECTION!r} says that this is Janus or Janus-Pro, which draws "
            "another way (discrete tokens): pass a JanusFlow, such as deepseek-ai/JanusFlow-1.3B."
        )
    llm = _llm_config(_section(settings, "language_config"), token_ids)
    tower = _parameters(settings, "vision_und_enc_config")
    config = JanusFlowConfig(
        llm_config=llm,
        vision_config=_vision_config(tower),
        generation=_generation(
            _parameters(settings, "vision_gen_enc_config"),
            _parameters(settings, "vision_gen_dec_config"),
            image_size=tower["image_size"],
        ),
        repa=None,
        plans=_plans(settings),
        vae=vae,
        official=copy.deepcopy(settings),
        dtype=settings.get("torch_dtype"),
        **token_ids,
    )
    _refuse_other_networks(settings, config)
    return config


def _plans(settings: dict[str, Any]) -> bool:
    plans = settings.get(PLANS, False)
    if not isinstance(plans, bool):
        raise CheckpointError(f"config.json: {PLANS}={plans!r}: wanted true or false.")
    return plans


def _llm_config(settings: dict[str, Any], token_ids: TokenIds) -> LlamaConfig:
    model_type = settings.get("model_type")
    if model_type != LlamaConfig.model_type:
        raise CheckpointError(
            f"config.json: language_config.model_type={model_type!r} but the release's layout "
            "holds a llama: keep a model with another LLM in our layout."
        )
    known = {
        key: value
        for key, value in settings.items()
        if key not in ("model_type", "torch_dtype", "bos_token_id", "eos_token_id", "pad_token_id")
    }
    # LlamaConfig's own end id (2) is an ordinary token of this vocabulary: the release passes the
    # right ones to every `generate` call, we put them where `generate` looks. The pad id stays out:
    # it is EOS in the release, and LLaMA would keep the gradient from a pad embedding.
    for name in ("bos_token_id", "eos_token_id"):
        known[name] = token_ids.get(name, getattr(JanusFlowConfig, name))
    return LlamaConfig(**known)


def _vision_config(params: dict[str, Any]) -> SiglipVisionConfig:
    name = params.get("model_name")
    if name not in TOWERS:
        raise CheckpointError(
            f"config.json: understanding tower {name!r} is unknown: known is {', '.join(TOWERS)}."
        )
    tower = TOWERS[name]
    return SiglipVisionConfig(
        hidden_size=tower.hidden_size,
        intermediate_size=tower.intermediate_size,
        num_hidden_layers=_num_blocks(tower, params["select_layer"]),
        num_attention_heads=tower.num_heads,
        image_size=params["image_size"],
        patch_size=tower.patch_size,
        # The release's tower has the exact (erf) GELU, where SigLIP's own default is the tanh one.
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        # The release stores the pooling head and never runs it; without it the files would differ.
        vision_use_head=True,
    )


def _num_blocks(tower: Tower, select_layer: int) -> int:
    """Blocks that are built: `select_layer` counts from the end if it is not positive."""
    built = select_layer if select_layer > 0 else tower.num_blocks + select_layer + 1
    built = min(built, tower.num_blocks)
    if built < 1:
        raise CheckpointError(
            f"config.json: select_layer={select_layer} leaves none of the {tower.num_blocks} "
            "blocks: use -1 for all of them."
        )
    return built


def _generation(
    encoder: dict[str, Any], decoder: dict[str, Any], *, image_size: int
) -> dict[str, Any]:
    widths = encoder["block_out_channels"]
    if len(widths) != 1:
        raise CheckpointError(
            f"config.json: block_out_channels={widths!r} but only one resolution is supported: use "
            "one number."
        )
    return {
        "latent_channels": encoder["input_channels"],
        "latent_size": image_size // VAE_FACTOR,
        "patch_size": PATCH_SIZE,
        "width": widths[0],
        "num_encoder_blocks": encoder["layers_in_middle"],
        "num_decoder_blocks": decoder["layers_in_middle"],
        "kernel_size": 7,
        "norm_eps": encoder["norm_eps"],
    }


def _section(settings: dict[str, Any], name: str) -> dict[str, Any]:
    if not isinstance(settings.get(name), dict):
        raise CheckpointError(
            f"config.json: no section {name!r} (found: {', '.join(settings)}): use the release's "
            "file."
        )
    return settings[name]


def _parameters(settings: dict[str, Any], name: str) -> dict[str, Any]:
    params = _section(_section(settings, name), "params")
    missing = [key for key in _REQUIRED[name] if key not in params]
    if missing:
        raise CheckpointError(
            f"config.json: {name}.params lacks {', '.join(missing)}: use the release's file."
        )
    for key, wanted in _REQUIRED[name].items():
        _require_type(params[key], wanted, f"{name}.params.{key}")
    return params


_REQUIRED: dict[str, dict[str, type]] = {
    "vision_und_enc_config": {"image_size": int, "model_name": str, "select_layer": int},
    "vision_gen_enc_config": {
        "block_out_channels": list,
        "input_channels": int,
        "layers_in_middle": int,
        "norm_eps": float,
    },
    "vision_gen_dec_config": {"layers_in_middle": int},
}


def _refuse_other_networks(settings: dict[str, Any], config: JanusFlowConfig) -> None:
    """Refuse a file that says anything else than what would be written for its configuration."""
    for name, section in release_settings(config).items():
        for key, wanted in section.get("params", {}).items() if isinstance(section, dict) else ():
            got = settings[name]["params"].get(key, wanted)
            if got != wanted and key != "select_layer":
                raise CheckpointError(
                    f"config.json: {key}={got!r} would build another network than {key}="
                    f"{wanted!r}, the only one supported: use the release's file."
                )


# ---- the way back ------------------------------------------------------------------------------


def config_to_official(config: JanusFlowConfig) -> dict[str, Any]:
    """The release's config.json for this network: the one it came with, if that still describes it.

    Raises:
        CheckpointError: the release's layout has no way to say what this network is.
    """
    if config.official is not None:
        original = config_from_official(config.official, token_ids={})
        if network(original) == network(config):
            return _with_plans(copy.deepcopy(config.official), config)
    settings = release_settings(config)
    differing = [
        f"{name}={network(config)[name]!r}"
        for name, value in network(config_from_official(settings, token_ids={})).items()
        if network(config)[name] != value
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
