"""What the recipe files of `mini`'s own parts may say: one frozen record per task."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError
from janusflow.config.learning.log import ReportConfig
from janusflow.config.model import require_positive
from janusflow.config.training import LoopConfig


@dataclass(frozen=True, kw_only=True)
class ScenesRecipe:
    """Render the scenes `mini` learns from."""

    task: str
    run: Path
    """Folder the result is left in."""
    num_scenes: int
    """Scenes, all of training compositions."""
    size: int = 64
    """Rows and columns of an image, in pixels."""
    seed: int = 0
    """Scene i depends on this and i only."""


@dataclass(frozen=True, kw_only=True)
class EasyVqaRecipe:
    """Fetch the easy-VQA package (3 MB)."""

    task: str
    run: Path
    """Folder the package file is left in."""


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
    """Rows and columns of an image, in pixels, for the processor."""
    num_image_tokens: int = 64
    """Patches of the understanding tower."""
    seed: int = 0
    """Decides the texts."""


@dataclass(frozen=True, kw_only=True)
class VaeRecipe:
    """Train an AutoencoderKL on rendered scenes, then encode all of them, or on any images."""

    task: str
    run: Path
    """Run folder; `vae/` inside holds the result, `latents.npy` the latent of every scene if the
    encoder has learnt."""
    scenes: Path | None = None
    """Folder of the scenes step."""
    images: tuple[SourceConfig, ...] = ()
    """Without `scenes`, what is learnt: sources as in a stage's `data.generation`."""
    held_out: tuple[SourceConfig, ...] = ()
    """Images that samples show; without any, some of `images`."""
    size: int = 64
    """Rows and columns that `images` are cropped to, in pixels."""
    model: dict[str, Any] | None = None
    """Arguments of diffusers' AutoencoderKL."""
    start: str | None = None
    """Without `model`, the VAE to train on: its folder, that of its model or step, or a hub id."""
    decoder_only: bool = False
    """Leave the encoder of `start` as it is: the same latents, decoded better."""
    batch_size: int = 16
    """Images per step."""
    kl_weight: float = 1e-4
    """Weight of the KL term against absolute + squared error."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    log: ReportConfig = field(default_factory=ReportConfig)

    def __post_init__(self) -> None:
        require_positive(self, "size")
        if (self.scenes is None) == (not self.images):
            raise ConfigError(
                f"scenes={self.scenes} and images={len(self.images)} sources: name one "
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
    """Images per step; every patch meets the phrases of all, however many processes share it."""
    loop: LoopConfig = field(default_factory=LoopConfig)
    log: ReportConfig = field(default_factory=ReportConfig)
