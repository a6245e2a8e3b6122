"""`JanusFlowConfig`: one transformers configuration for LLM, tower and generation path."""

from dataclasses import asdict
from typing import Any, no_type_check

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig, SiglipVisionConfig
from transformers.configuration_utils import SubConfigSpec

from janusflow.config.errors import ConfigError
from janusflow.config.model import GenerationPathConfig, RepaConfig

SEEING = ("tower", "shared", "separate")
"""What images to understand may be read through."""
IMAGE_ATTENTION = ("causal", "bidirectional")
"""Which of an image's embeddings may see which."""


# transformers hands every key of a file to the constructor; jaxtyping, in tests, would look for
# each of them among the fields.
@no_type_check
@strict
class JanusFlowConfig(PreTrainedConfig):
    """Everything that decides the shapes of a JanusFlow, with the release's values as defaults.

    `llm_config` is the configuration (or its dict) of any transformers causal LM, `vision_config`
    that of a SigLIP tower. `generation` and `repa` are plain dicts in the file; read them through
    `.flow` and `.repa_head`, which check them. The special-token ids belong to the processor's
    tokenizer; the model needs them to know where images sit.
    """

    model_type = "janusflow"
    sub_configs_defaults = {  # noqa: RUF012 (transformers reads a plain dict)
        "llm_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
        "vision_config": SubConfigSpec(config_class=SiglipVisionConfig),
    }

    llm_config: Any = None
    vision_config: Any = None
    generation: dict | None = None
    repa: dict | None = None
    seeing: str = "tower"
    """What images to understand are read through: the tower, or of their latents the generation
    encoder (shared) or another like it (separate): rows B and C of the paper's Table 6."""
    image_attention: str = "causal"
    """What an image's embeddings (seen or drawn, the first one included) see of one another in the
    LLM: those before them (causal, paper section 3.1) or all (bidirectional). Text is causal."""
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
        self.llm_config = _as_config(self.llm_config, default={"model_type": "llama"})
        self.vision_config = _as_config(
            self.vision_config, default={"model_type": "siglip_vision_model"}
        )
        self.generation = asdict(_record(GenerationPathConfig, self.generation or {}))
        if self.repa is not None:
            self.repa = asdict(_record(RepaConfig, self.repa))
        self._check_seeing()
        self._check_image_attention()
        self.tie_word_embeddings = bool(getattr(self.llm_config, "tie_word_embeddings", False))
        super().__post_init__(**kwargs)

    @property
    def flow(self) -> GenerationPathConfig:
        """The generation path's shapes."""
        return GenerationPathConfig(**(self.generation or {}))

    @property
    def repa_head(self) -> RepaConfig | None:
        """The REPA head's shape, or None for a model that has none (the release)."""
        return None if self.repa is None else RepaConfig(**self.repa)

    @property
    def uses_latent_input(self) -> bool:
        """Whether images to understand come as latents instead of pixels."""
        return self.seeing != "tower"

    def _check_seeing(self) -> None:
        if self.seeing not in SEEING:
            raise ConfigError(
                f"seeing={self.seeing} must be one of {', '.join(SEEING)}: change it."
            )
        num_patches = (self.vision_config.image_size // self.vision_config.patch_size) ** 2
        if self.uses_latent_input and num_patches != self.flow.num_tokens:
            raise ConfigError(
                f"seeing={self.seeing} makes {self.flow.num_tokens} embeddings of an image where "
                f"the tower makes {num_patches}: choose generation.latent_size so that both agree."
            )

    @property
    def bidirectional_image_attention(self) -> bool:
        """Whether an image's embeddings see later ones of the same image."""
        return self.image_attention == "bidirectional"

    def change_image_attention(self, image_attention: str) -> None:
        """Let a model that is there already go on with the other kind of attention.

        Raises:
            ConfigError: there is no such kind.
        """
        self.image_attention = image_attention
        self._check_image_attention()

    def _check_image_attention(self) -> None:
        if self.image_attention not in IMAGE_ATTENTION:
            raise ConfigError(
                f"image_attention={self.image_attention} must be one of "
                f"{', '.join(IMAGE_ATTENTION)}: change it."
            )

    @property
    def hidden_size(self) -> int:
        """Width of the LLM."""
        return self.get_text_config().hidden_size

    def get_text_config(self, decoder: bool | None = None, encoder: bool | None = None) -> Any:  # noqa: ARG002 (transformers' signature)
        """The LLM's configuration, under the name transformers asks for it."""
        return self.llm_config


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
