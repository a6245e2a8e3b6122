"""Shapes of the generation path and of the REPA head, as frozen data that cannot contradict itself.

The LLM and the understanding tower are `transformers` models and bring their own configurations.
"""

from dataclasses import dataclass

from janusflow.config.errors import ConfigError


def require_positive(record: object, *names: str) -> None:
    """Refuse a record whose named fields are not all at least 1."""
    for name in names:
        value = getattr(record, name)
        if value < 1:
            raise ConfigError(f"{name}={value} must be at least 1: change it in the configuration.")


@dataclass(frozen=True, kw_only=True)
class GenerationPathConfig:
    """Encoder and decoder between VAE latents and LLM embeddings (paper section 3.1)."""

    latent_channels: int = 4
    """Channels of the VAE latent."""
    latent_size: int = 48
    """Rows (= columns) of the VAE latent grid: image pixels / VAE factor."""
    patch_size: int = 2
    """Latent cells per token along each axis."""
    width: int = 768
    """Channels of the generation encoder; the decoder works at twice this because of the skip."""
    num_encoder_blocks: int = 2
    """ConvNeXt blocks in the generation encoder."""
    num_decoder_blocks: int = 2
    """ConvNeXt blocks in the generation decoder."""
    kernel_size: int = 7
    """Depthwise kernel of a ConvNeXt block; odd."""
    norm_eps: float = 1e-6
    """Added to the mean square in every RMSNorm of the path."""

    def __post_init__(self) -> None:
        require_positive(
            self, "latent_channels", "latent_size", "patch_size", "width", "kernel_size"
        )
        if self.width % 2:
            raise ConfigError(
                f"width={self.width} is odd: the time embedding has as many cosines as sines. "
                f"Use {self.width + 1}."
            )
        if self.kernel_size % 2 == 0:
            raise ConfigError(
                f"kernel_size={self.kernel_size} is even: the grid would shift by half a cell. "
                f"Use {self.kernel_size + 1}."
            )
        if self.latent_size % self.patch_size:
            raise ConfigError(
                f"latent_size={self.latent_size} is not a multiple of patch_size="
                f"{self.patch_size}: the grid would lose its last rows. Use a latent_size of "
                f"{self.latent_size // self.patch_size * self.patch_size}."
            )

    @property
    def grid_size(self) -> int:
        """Rows (= columns) of tokens an image becomes."""
        return self.latent_size // self.patch_size

    @property
    def num_tokens(self) -> int:
        """Image tokens in the LLM sequence, without the time token."""
        return self.grid_size**2


@dataclass(frozen=True, kw_only=True)
class RepaConfig:
    """Representation alignment (paper section 3.2): which features, through how wide an MLP."""

    block: int = 6
    """Features are taken after this many LLM blocks (paper: 6)."""
    hidden_size: int = 2048
    """Width of the 3-layer MLP's hidden layers; the paper does not say."""

    def __post_init__(self) -> None:
        require_positive(self, "block", "hidden_size")
