"""Claims about the generation path's building blocks, against closed forms and own arithmetic."""

import math

import torch

from janusflow.model.layers import ConvNextBlock, GlobalResponseNorm, TimeEmbedding


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_noise_time_has_all_cosines_at_one_and_all_sines_at_zero():
    sinusoids = TimeEmbedding(5, 8).sinusoids(torch.zeros(1))
    assert torch.equal(sinusoids, torch.tensor([[1.0] * 5 + [0.0] * 5]))


def test_frequencies_fall_geometrically_from_one_per_thousandth():
    num, t = 4, 0.0123
    sinusoids = TimeEmbedding(num, 8).sinusoids(torch.tensor([t]))[0].tolist()
    angles = [1000 * t * 10_000 ** (-i / num) for i in range(num)]
    expected = [math.cos(a) for a in angles] + [math.sin(a) for a in angles]
    # 1000 t is rounded to float32: at most 1000 * 2^-24 for t < 1.
    assert max(abs(a - b) for a, b in zip(sinusoids, expected, strict=True)) < 1e-4


def test_time_is_embedded_in_float32_whatever_the_weights_are():
    embedding = TimeEmbedding(4, 8).bfloat16()
    t = torch.tensor([0.7003, 0.7004])  # one bfloat16 number, two times
    assert embedding.sinusoids(t).dtype == torch.float32
    assert not torch.equal(*embedding.sinusoids(t))
    assert embedding(t).dtype == torch.bfloat16


def test_response_norm_equals_its_formula_channel_by_channel():
    norm = GlobalResponseNorm(3)
    with torch.no_grad():
        norm.weight.copy_(torch.tensor([0.5, -1.0, 2.0]).view(1, 1, 1, 3))
        norm.bias.copy_(torch.tensor([0.1, 0.2, 0.3]).view(1, 1, 1, 3))
    x = torch.randn(2, 4, 5, 3, generator=generator())
    energy = [[x[b, :, :, w].square().sum().sqrt() for w in range(3)] for b in range(2)]
    for b in range(2):
        mean = sum(energy[b]) / 3
        for w in range(3):
            share = energy[b][w] / (mean + 1e-6)
            weight, bias = norm.weight[0, 0, 0, w], norm.bias[0, 0, 0, w]
            expected = bias + (weight * share + 1) * x[b, :, :, w]
            torch.testing.assert_close(norm(x)[b, :, :, w], expected)


def test_response_norm_starts_as_the_identity():
    x = torch.randn(1, 2, 2, 4, generator=generator())
    assert torch.equal(GlobalResponseNorm(4)(x), x)


def test_a_block_modulates_the_sum_with_the_residual():
    """With a silent branch the block is x (1 + scale) + shift, scale first."""
    block = ConvNextBlock(4, 6, kernel_size=3, norm_eps=1e-6)
    with torch.no_grad():
        block.project.weight.zero_()
        block.project.bias.zero_()
    x = torch.randn(2, 4, 3, 5, generator=generator())
    time_embed = torch.randn(2, 6, generator=generator(1))
    scale, shift = block.modulation(torch.nn.functional.silu(time_embed)).split(4, dim=1)
    expected = x * (1 + scale[:, :, None, None]) + shift[:, :, None, None]
    torch.testing.assert_close(block(x, time_embed), expected)


def test_a_block_looks_half_a_kernel_far():
    """A changed pixel moves its neighbourhood; beyond it only the response norm's share moves."""
    block = ConvNextBlock(2, 3, kernel_size=3, norm_eps=1e-6)
    with torch.no_grad():
        block.response_norm.weight.zero_()
    x = torch.randn(1, 2, 9, 9, generator=generator())
    changed = x.clone()
    changed[0, 0, 4, 4] += 1.0
    time_embed = torch.zeros(1, 3)
    moved = (block(x, time_embed) != block(changed, time_embed)).any(dim=1)[0]
    assert moved[3:6, 3:6].any()
    moved[3:6, 3:6] = False
    assert not moved.any()
