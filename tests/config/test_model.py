"""Shapes of the generation path: derived numbers agree, contradictions are refused."""

from typing import Any

import pytest

from janusflow.config.errors import ConfigError
from janusflow.config.model import GenerationPathConfig, RepaConfig


def test_defaults_are_the_releases_24_by_24_tokens():
    config = GenerationPathConfig()
    assert (config.latent_channels, config.latent_size, config.width) == (4, 48, 768)
    assert (config.grid_size, config.num_tokens) == (24, 24 * 24)


@pytest.mark.parametrize(("latent_size", "patch_size", "grid"), [(16, 2, 8), (9, 3, 3), (5, 1, 5)])
def test_tokens_tile_the_latent(latent_size: int, patch_size: int, grid: int):
    config = GenerationPathConfig(latent_size=latent_size, patch_size=patch_size)
    assert config.grid_size == grid
    assert config.num_tokens * patch_size**2 == latent_size**2


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"latent_channels": 0}, "latent_channels=0"),
        ({"patch_size": 0}, "patch_size=0"),
        ({"width": 0}, "width=0"),
        ({"width": 33}, "Use 34"),
        ({"kernel_size": 4}, "Use 5"),
        ({"latent_size": 49}, "Use a latent_size of 48"),
    ],
)
def test_contradictions_are_refused_with_what_to_use(changed: dict[str, Any], told: str):
    with pytest.raises(ConfigError, match=told):
        GenerationPathConfig(**changed)


@pytest.mark.parametrize("changed", [{"block": 0}, {"hidden_size": 0}])
def test_a_repa_head_needs_a_block_and_a_width(changed: dict[str, int]):
    with pytest.raises(ConfigError, match="must be at least 1"):
        RepaConfig(**changed)
