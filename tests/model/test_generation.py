"""Claims about the generation encoder and decoder: shapes, grid order, the skip."""

import pytest
import torch

from janusflow.config.errors import ConfigError
from janusflow.config.model import GenerationPathConfig, RepaConfig
from janusflow.model.generation import GenerationDecoder, GenerationEncoder

HIDDEN = 12


def path(**settings: int) -> GenerationPathConfig:
    return GenerationPathConfig(**{"width": 8, "latent_size": 8, "kernel_size": 3, **settings})


@pytest.mark.parametrize("patch_size", [1, 2, 4])
@pytest.mark.parametrize("shape", [(8, 8), (4, 12)])
def test_the_decoder_gives_back_the_latents_shape(patch_size: int, shape: tuple[int, int]):
    config = path(patch_size=patch_size, latent_channels=3)
    encoder, decoder = GenerationEncoder(config, HIDDEN), GenerationDecoder(config, HIDDEN)
    x_t = torch.randn(2, 3, *shape)
    features, time_embed = encoder(x_t, torch.rand(2))
    assert features.shape == (2, 8, shape[0] // patch_size, shape[1] // patch_size)
    assert time_embed.shape == (2, HIDDEN)
    assert decoder(features, features, time_embed).shape == x_t.shape


def test_a_patch_is_decoded_where_it_was_encoded():
    """Blocks and norms switched off, one token's output fills one patch, channel by channel."""
    config = path(num_encoder_blocks=0, num_decoder_blocks=0)
    decoder = GenerationDecoder(config, HIDDEN)
    features = torch.zeros(1, 8, 4, 4)
    silent = decoder(features, features, torch.zeros(1, HIDDEN))
    features[0, :, 1, 2] = torch.randn(8)
    moved = (decoder(features, torch.zeros_like(features), torch.zeros(1, HIDDEN)) != silent)[0]
    assert moved[:, 2:4, 4:6].all()
    assert moved.sum() == moved[:, 2:4, 4:6].numel()


def test_the_skip_reaches_the_velocity():
    config = path()
    decoder = GenerationDecoder(config, HIDDEN)
    features, skip = torch.randn(2, 1, 8, 4, 4)
    time_embed = torch.randn(1, HIDDEN)
    with_skip = decoder(features, skip, time_embed)
    without = decoder(features, torch.zeros_like(skip), time_embed)
    assert not torch.allclose(with_skip, without)


def test_only_the_llms_side_is_normalised_before_joining():
    """Scaling the LLM's features changes nothing, scaling the skip does."""
    config = path(norm_eps=0.0)
    decoder = GenerationDecoder(config, HIDDEN)
    features, skip = torch.randn(2, 1, 8, 4, 4)
    time_embed = torch.randn(1, HIDDEN)
    plain = decoder(features, skip, time_embed)
    torch.testing.assert_close(decoder(3 * features, skip, time_embed), plain)
    assert not torch.allclose(decoder(features, 3 * skip, time_embed), plain)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"width": 7}, "width=7"),
        ({"kernel_size": 4}, "kernel_size=4"),
        ({"latent_size": 9}, "latent_size=9"),
        ({"patch_size": 0}, "patch_size=0"),
    ],
)
def test_contradictory_shapes_are_refused(settings: dict[str, int], reason: str):
    with pytest.raises(ConfigError, match=reason):
        path(**settings)


def test_a_repa_head_needs_a_block():
    with pytest.raises(ConfigError, match="block=0"):
        RepaConfig(block=0)
