"""`JanusFlowConfig`: one transformers configuration for LLM, tower and generation path."""

from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any, no_type_check

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, SiglipVisionConfig
from transformers.configuration_utils import SubConfigSpec

from janusflow.config.errors import ConfigError
from janusflow.config.model import GenerationPathConfig, RepaConfig

KINDS = {
    "understanding_input": ("tower", "shared", "separate"),
    "image_attention": ("causal", "bidirectional"),
}
"""What images to understand may be encoded by, and how an image's embeddings may attend to one
another."""
OTHER_LAYOUTS = {"multi_modality": "janusflow.interop.release_config"}
"""The model_type of another layout's config.json, and where that is read (`interop`, above us)."""
RECORDS = {"generation": GenerationPathConfig, "repa": RepaConfig}
"""Fields that are checked records here and plain dicts in config.json."""
RELEASE_LLM = {
    "model_type": "llama",
    "vocab_size": 102400,
    "hidden_size": 2048,
    "intermediate_size": 5632,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "num_key_value_heads": 16,
    "max_position_embeddings": 16384,
    "bos_token_id": 100000,
    "eos_token_id": 100001,
}
"""The LLM of JanusFlow-1.3B."""
RELEASE_TOWER = {
    "model_type": "siglip_vision_model",
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 384,
    "patch_size": 16,
    "hidden_act": "gelu",
}
"""The SigLIP tower of JanusFlow-1.3B, whose GELU is the exact one."""


# transformers hands every key of a file to the constructor; jaxtyping, in tests, would look for
# each of them among the fields.
@no_type_check
@strict
class JanusFlowConfig(PreTrainedConfig):
    """Everything that decides the shapes of a JanusFlow; the defaults are the release's.

    `llm_config` is the configuration (or its dict) of any transformers causal LM, `vision_config`
    that of a SigLIP tower. `generation` (the generation encoder and decoder) and `repa` (the REPA
    head, None for a model without one) may be given as dicts, as they stand in config.json, and
    are `GenerationPathConfig` and `RepaConfig` from then on. The special-token ids belong to the
    processor's tokenizer; the model needs them to know where images are.

    Raises:
        ConfigError: a value that has no meaning, or two that contradict each other.
    """

    model_type = "janusflow"
    sub_configs_defaults = {  # noqa: RUF012 (transformers reads a plain dict)
        "llm_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "vision_config": SubConfigSpec(config_class=SiglipVisionConfig),
    }

    llm_config: Any = None
    vision_config: Any = None
    generation: Any = None
    repa: Any = None
    understanding_input: str = "tower"
    """What encodes images to understand: the tower, or of their latents the generation encoder
    (shared) or another like it (separate): rows B and C of the paper's Table 6."""
    image_attention: str = "causal"
    """Which embeddings of its own image, the begin or time token included, an image's embedding
    attends to in the LLM, for understanding and generation: those before it (causal, paper section
    3.1) or all of them (bidirectional). Text is causal either way."""
    plans: bool = False
    """Whether the LLM has learnt to plan: to the `planning_question` (processing/templates.py) it
    answers with a prompt that says where everything is, which is drawn instead."""
    vae: str | None = "stabilityai/sdxl-vae"
    """Folder beside the weights, or hub id, of the VAE."""
    official: dict | None = None
    """The release's own config.json, word for word, if this model came from one."""
    bos_token_id: int = 100000
    eos_token_id: int | list[int] = 100001
    pad_token_id: int = 100001
    image_token_id: int = 100015
    image_start_token_id: int = 100017
    image_end_token_id: int = 100018
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        self.llm_config = _as_config(self.llm_config, default=RELEASE_LLM)
        self.vision_config = _as_config(self.vision_config, default=RELEASE_TOWER)
        self.generation = self.generation or {}
        # Files written before the field was renamed.
        self.understanding_input = kwargs.pop("seeing", self.understanding_input)
        self._check()
        self.tie_word_embeddings = bool(getattr(self.llm_config, "tie_word_embeddings", False))
        super().__post_init__(**kwargs)

    def __setattr__(self, name: str, value: Any) -> None:
        """Make a record of a dict for `generation` and `repa`; all else as in transformers."""
        if name in RECORDS and isinstance(value, dict):
            value = _record(RECORDS[name], value)
        super().__setattr__(name, value)

    @classmethod
    def get_config_dict(cls, where: Any, **kwargs: Any) -> tuple[dict, dict]:
        """What `from_pretrained` reads; the release's config.json is translated."""
        settings, others = super().get_config_dict(where, **kwargs)
        return _in_our_layout(settings, Path(where, kwargs.get("subfolder") or "")), others

    @classmethod
    def from_dict(cls, config_dict: dict, **kwargs: Any) -> Any:
        """What `AutoConfig` calls with the file's content, whichever layout that is of."""
        settings = _in_our_layout(config_dict, kwargs.get("name_or_path"))
        return super().from_dict(settings, **kwargs)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain dicts.

        The parts' own dtypes are left out: a model's weights have the model's dtype.
        """
        settings = super().to_dict()
        for name in RECORDS:
            record = settings[name]
            settings[name] = None if record is None else asdict(record)
        for name in ("llm_config", "vision_config"):
            settings[name]["dtype"] = None
        return settings

    @property
    def uses_latent_input(self) -> bool:
        """Whether images to understand come as latents instead of pixels."""
        return self.understanding_input != "tower"

    def change_image_attention(self, image_attention: str) -> None:
        """Change the kind of attention of a model that exists already.

        Raises:
            ConfigError: there is no such kind.
        """
        self.image_attention = image_attention
        self._check()

    def _check(self) -> None:
        for name, known in KINDS.items():
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"{name}={getattr(self, name)} must be one of {', '.join(known)}: change it."
                )
        num_patches = (self.vision_config.image_size // self.vision_config.patch_size) ** 2
        if self.uses_latent_input and num_patches != self.generation.num_tokens:
            raise ConfigError(
                f"understanding_input={self.understanding_input} makes "
                f"{self.generation.num_tokens} embeddings of an image where the tower makes "
                f"{num_patches}: choose generation.latent_size so that both agree."
            )

    @property
    def hidden_size(self) -> int:
        """Width of the LLM."""
        return self.get_text_config().hidden_size

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Any:  # noqa: ARG002 (transformers' signature)
        """The LLM's configuration, under the name transformers asks for it."""
        return self.llm_config


def _in_our_layout(settings: dict, where: Any) -> dict:
    """Settings of our own layout; of another model there is no JanusFlow to make."""
    kind = settings.get("model_type", JanusFlowConfig.model_type)
    if kind in OTHER_LAYOUTS:
        return import_module(OTHER_LAYOUTS[kind]).settings_in_our_layout(settings, where)
    if kind != JanusFlowConfig.model_type:
        raise ConfigError(
            f"model_type={kind!r} is neither {JanusFlowConfig.model_type!r} nor the release's "
            f"{', '.join(OTHER_LAYOUTS)}: pass a JanusFlow."
        )
    return settings


def _as_config(value: dict | PreTrainedConfig | None, *, default: dict) -> PreTrainedConfig:
    if isinstance(value, PreTrainedConfig):
        return value
    settings = dict(value or default)
    model_type = settings.pop("model_type", None)
    if model_type is None:
        raise ConfigError(
            f"a backbone configuration without model_type (keys: {', '.join(sorted(settings))}): "
            "add the model_type transformers knows it by, e.g. llama."
        )
    if model_type == SiglipVisionConfig.model_type:
        return SiglipVisionConfig(**settings)
    return AutoConfig.for_model(model_type, **settings)


def _record(kind: type, values: dict) -> Any:
    known = list(kind.__dataclass_fields__)
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise ConfigError(
            f"unknown {kind.__name__} keys {', '.join(unknown)}: known are {', '.join(known)}."
        )
    return kind(**values)
