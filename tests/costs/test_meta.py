"""Tensors without memory beside real indices: the shapes are those of real tensors."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from janusflow.costs.meta import LARGEST_INDEX
from janusflow.costs.meter import counting

MASK = torch.tensor([[True, False, True], [False, False, True]])


def picked(x: Tensor) -> Tensor:
    return x[MASK]


def scattered(x: Tensor) -> Tensor:
    return x.masked_scatter(MASK[..., None], torch.zeros(3, 4).to(x))


def added(x: Tensor) -> Tensor:
    return x + torch.ones(3, 1)


def chosen(x: Tensor) -> Tensor:
    return x[:, MASK.any(0).nonzero()[:, 0]]


@pytest.mark.parametrize("run", [picked, scattered, added, chosen])
def test_shapes_and_gradients_are_those_of_real_tensors(run: Callable[[Tensor], Tensor]):
    real = torch.randn(2, 3, 4, requires_grad=True)
    hollow = real.detach().to("meta").requires_grad_()
    with counting():
        results = [run(real), run(hollow)]
        for result in results:
            result.sum().backward()
    assert results[0].shape == results[1].shape
    assert (results[0].is_meta, results[1].is_meta) == (False, True)
    assert real.grad is not None
    assert hollow.grad is not None
    assert real.grad.shape == hollow.grad.shape


def test_small_real_tensors_stay_real_and_large_ones_keep_their_shape_alone():
    side = int(LARGEST_INDEX**0.5)
    with counting():
        assert not (torch.ones(side, 1) * torch.ones(1, side)).is_meta
        large = torch.ones(side, 1) * torch.ones(1, side + 1)
    assert large.is_meta
    assert large.shape == (side, side + 1)


@pytest.mark.parametrize("heads", [4, 2])
def test_attention_without_memory_gives_the_shape_of_attention(heads: int):
    query, key = torch.randn(2, 4, 8, 16), torch.randn(2, heads, 8, 16)
    mask = torch.ones(8, 8, dtype=torch.bool).tril()
    settings = {"attn_mask": mask, "enable_gqa": heads != 4}
    wanted = functional.scaled_dot_product_attention(query, key, key, **settings)
    with counting():
        found = functional.scaled_dot_product_attention(
            query.to("meta"), key.to("meta"), key.to("meta"), **settings
        )
        real = functional.scaled_dot_product_attention(query, key, key, **settings)
    assert found.shape == wanted.shape
    torch.testing.assert_close(real, wanted)


def test_what_is_counted_in_one_thread_leaves_another_alone():
    """PyTorch's own attention is not touched, and a thread beside counts nothing of this one's."""
    before = functional.scaled_dot_product_attention
    query = torch.ones(1, 2, 8, 4, device="meta")
    with counting() as meter:
        assert functional.scaled_dot_product_attention is before
        with ThreadPoolExecutor(1) as other:
            other.submit(functional.scaled_dot_product_attention, query, query, query).result()
        assert (meter.flops, meter.peak_bytes) == (0, 0)
        functional.scaled_dot_product_attention(query, query, query)
    assert meter.flops == 2 * 2 * 2 * 8 * 8 * 4


def test_indices_moved_to_the_models_device_stay_real_and_values_do_not():
    with counting():
        assert not torch.tensor([1]).to("meta").is_meta
        assert not MASK.to("meta").is_meta
        assert torch.ones(1).to("meta").is_meta
