"""What a recipe file may say: one frozen record per task, chosen by the file's `task` key."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janusflow.config.data import DataConfig, SourceConfig
from janusflow.config.errors import ConfigError
from janusflow.config.log import LogConfig, ReportConfig
from janusflow.config.model import require_positive
from janusflow.config.training import LoopConfig, MixtureConfig, ObjectiveConfig

CHANGEABLE = (
    "log",
    "loop.guard",
    "loop.steps",
    "loop.log_every",
    "loop.save_every",
    "loop.keep",
    "loop.keep_every",
    "loop.micro_batch_size",
    "loop.scale.shard",
    "loop.scale.recompute",
    "loop.scale.compile",
    "mixture.max_bad_share",
    "data.cache",
)
"""Settings and sections that may change on a run that has begun: what is learnt stays the same but
for rounding. `loop.steps` only where the rate does not fall at the end (`decay_steps`)."""


@dataclass(frozen=True, kw_only=True)
class ScenesRecipe:
    """Render the scenes `mini` learns from."""

    task: str
    run: Path
    """Folder the result is left in."""
    num_scenes: int
    """Scenes, all of training compositions."""
    size: int = 64
    """Rows and columns of a picture, in pixels."""
    seed: int = 0
    """Scene i depends on this and i only."""


@dataclass(frozen=True, kw_only=True)
class EasyVqaRecipe:
    """Fetch the easy-VQA package (3 MB)."""

    task: str
    run: Path
    """Folder the package file is left in."""


@dataclass(frozen=True, kw_only=True)
class EmojiRecipe:
    """Fetch emoji and their names (25 MB), and render them as training data."""

    task: str
    run: Path
    """Folder the pictures and the files of captions and questions are left in."""
    size: int = 64
    """Rows and columns of a picture, in pixels."""
    held_out_style: str = "noto"
    """The style that is never trained on: flat, shaded or noto."""
    held_out_labels: int = 12
    """One label in so many is never trained on either."""

    def __post_init__(self) -> None:
        require_positive(self, "size")
        if self.held_out_labels < 2:
            raise ConfigError(
                f"held_out_labels={self.held_out_labels}: one in so many is held out, so wanted 2 "
                "or more."
            )


@dataclass(frozen=True, kw_only=True)
class TokenizerRecipe:
    """Train a byte-level BPE tokenizer on the scenes' captions and questions."""

    task: str
    run: Path
    """Folder the processor files are left in."""
    vocab_size: int = 2048
    """Tokens in all, the 256 bytes and the special ones included."""
    num_texts: int = 40_000
    """Captions and questions it is trained on."""
    image_size: int = 64
    """Rows and columns of a picture, in pixels, for the processor."""
    num_image_tokens: int = 64
    """Patches of the understanding tower."""
    seed: int = 0
    """Decides the texts."""


@dataclass(frozen=True, kw_only=True)
class VaeRecipe:
    """Train an AutoencoderKL on rendered scenes, then encode all of them, or on any pictures."""

    task: str
    run: Path
    """Run folder; `vae/` inside holds the result, `latents.npy` the latent of every scene if the
    encoder has learnt."""
    scenes: Path | None = None
    """Folder of the scenes step."""
    pictures: tuple[SourceConfig, ...] = ()
    """Without `scenes`, what is learnt: sources as in a stage's `data.generation`."""
    held_out: tuple[SourceConfig, ...] = ()
    """Pictures that samples show; without any, some of `pictures`."""
    size: int = 64
    """Rows and columns that `pictures` are cropped to, in pixels."""
    model: dict[str, Any] | None = None
    """Arguments of diffusers' AutoencoderKL."""
    start: str | None = None
    """Without `model`, the VAE to train on: its folder, that of its model or step, or a hub id."""
    decoder_only: bool = False
    """Leave the encoder of `start` as it is: the same latents, decoded better."""
    batch_size: int = 16
    """Pictures per step."""
    kl_weight: float = 1e-4
    """Weight of the KL term against absolute + squared error."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    log: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        require_positive(self, "size")
        if (self.scenes is None) == (not self.pictures):
            raise ConfigError(
                f"scenes={self.scenes} and pictures={len(self.pictures)} sources: name one "
                "of them to learn from."
            )
        if (self.model is None) == (self.start is None):
            raise ConfigError(
                f"start={self.start} and model={self.model}: name a VAE to start from, or what to "
                "build."
            )
        if self.decoder_only and self.start is None:
            raise ConfigError("decoder_only=True without start: name the VAE whose encoder stays.")


@dataclass(frozen=True, kw_only=True)
class SiglipRecipe:
    """Train a small SigLIP on patches of scenes and phrases; its vision tower becomes f_enc."""

    task: str
    run: Path
    """Run folder; `tower/` inside holds the vision tower."""
    scenes: Path
    """Folder of the scenes step."""
    tokenizer: Path
    """Folder of the tokenizer step."""
    vision: dict[str, Any]
    """Arguments of transformers' SiglipVisionConfig."""
    text: dict[str, Any]
    """Arguments of transformers' SiglipTextConfig, without the vocabulary's size."""
    batch_size: int = 128
    """Pictures per step; every patch meets the phrases of all, however many processes share it."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    log: ReportConfig = field(default_factory=ReportConfig)


@dataclass(frozen=True, kw_only=True)
class ShipRecipe:
    """Copy a finished run's model for giving away, its weights stored in half the bytes."""

    task: str
    run: Path
    """Run folder; `model/` inside holds the copy."""
    start: Path
    """Finished run whose model is copied."""


@dataclass(frozen=True, kw_only=True)
class StageRecipe:
    """Train JanusFlow itself: a stage of the paper or a fine-tune."""

    task: str
    run: Path
    """Run folder; `model/` inside holds the averaged result, complete with processor and VAE."""
    processor: str
    """Folder or hub id of the processor."""
    vae: str
    """Folder of a VAE, or of the VAE step, or a hub id."""
    data: DataConfig
    """What is learnt."""
    start: str | None = None
    """Run, model folder or hub id to start from, the release's layout or ours."""
    new: dict[str, Any] | None = None
    """Without `start`, what to build: `tower` and `llm` name trained parts (folders or hub ids; a
    run gives its model's LLM), the rest are arguments of JanusFlowConfig. With it, only `repa`
    (for a model without a head), `image_attention` and `plans`."""
    trainable: tuple[str, ...] = ()
    """Parts that train, by names in janusflow/training/stage/freezing.py; the rest is frozen."""
    mixture: MixtureConfig = field(default_factory=MixtureConfig)
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    log: LogConfig = field(default_factory=LogConfig)
