"""Counted operations and live bytes, against closed forms, torch's counter and real tensors."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from tiny_model import qwen3_model, tiny_model
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import janusflow.mini
from janusflow.costs.meter import convolution_backward_flops, counting
from janusflow.interop.load import load_model, on_meta
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.rows import Rows, flat_positions
from janusflow.training.engine.parallelize import to_device

aten = torch.ops.aten
FLOAT = 4


def test_a_linear_layer_takes_two_operations_a_weight_and_twice_that_backward():
    layer, x = nn.Linear(5, 7), torch.randn(3, 5, requires_grad=True)
    with counting() as meter:
        loss = layer(x).sum()
        forward = meter.flops
        loss.backward()
    assert forward == 2 * 3 * 5 * 7
    assert meter.flops == 3 * forward


def test_a_frozen_layer_takes_no_operations_for_its_own_gradient():
    layer, x = nn.Linear(5, 7).requires_grad_(False), torch.randn(3, 5, requires_grad=True)
    with counting() as meter:
        layer(x).sum().backward()
    assert meter.flops == 2 * (2 * 3 * 5 * 7)


@pytest.mark.parametrize("groups", [1, 2, 6])
def test_a_convolution_in_groups_takes_what_its_groups_take_one_by_one(groups: int):
    x = torch.randn(2, 6, 8, 8, requires_grad=True)
    with counting() as meter:
        nn.Conv2d(6, 12, 3, padding=1, groups=groups)(x).sum().backward()
    with FlopCounterMode(display=False) as alone:
        for part in x.chunk(groups, dim=1):
            nn.Conv2d(6 // groups, 12 // groups, 3, padding=1)(part).sum().backward()
    assert meter.flops == alone.get_total_flops()


@pytest.mark.parametrize(("wants_input", "wants_weight"), [(0, 1), (1, 0), (1, 1)])
def test_a_convolution_takes_as_much_again_for_each_gradient_that_is_wanted(
    wants_input: int, wants_weight: int
):
    x = torch.randn(2, 3, 8, 8, requires_grad=bool(wants_input))
    layer = nn.Conv2d(3, 5, 3, padding=1).requires_grad_(bool(wants_weight))
    with counting() as meter:
        layer(x).sum().backward()
    assert meter.flops == (1 + wants_input + wants_weight) * 2 * 2 * 5 * 3 * 9 * 64


def test_peak_bytes_are_those_of_tensors_alive_at_once():
    x = torch.ones(1000)
    with counting() as meter:
        y = x * 2
        z = y * 2
        del y
        w = z.view(10, 100)[2:] * 2  # a view takes nothing, its product 800 values
        del z, w
        torch.ones(10)
    assert meter.peak_bytes == FLOAT * 2000


def test_what_backward_needs_is_kept_alive():
    x = torch.ones(1000, requires_grad=True)
    with counting() as meter:
        loss = x.exp().square().sum()
        held = meter.peak_bytes
        assert held == FLOAT * 2001
        loss.backward()
    assert meter.peak_bytes > held


def test_finished_gradients_are_not_counted():
    layers = nn.Sequential(*[nn.Linear(100, 100, bias=False) for _ in range(8)])
    peaks = []
    for trained in (layers, None):
        layers.zero_grad()
        with counting(trained=trained) as meter:
            layers(torch.ones(1, 100)).sum().backward()
        peaks.append(meter.peak_bytes)
    difference = (peaks[1] - peaks[0]) / (FLOAT * 100 * 100)
    assert 6.9 < difference <= 8


def test_parts_are_counted_by_name_and_watched_within_the_block_only():
    layer = nn.Linear(4, 4)
    outer = nn.Sequential(layer, layer, nn.Linear(4, 1))
    with counting() as meter:
        outer(torch.ones(1, 4))
    layer(torch.ones(1, 4))
    assert meter.flops_of("Sequential.2") == 2 * 4
    assert meter.flops == meter.flops_of("Sequential") == 2 * 2 * 16 + 2 * 4
    assert meter.flops_of("Sequential.3") == 0


@pytest.mark.parametrize("heads", [4, 2])
def test_attention_without_memory_gives_the_shape_of_attention(heads: int):
    query, key = torch.randn(2, 4, 8, 16), torch.randn(2, heads, 8, 16)
    mask = torch.ones(8, 8, dtype=torch.bool).tril()
    settings = {"attn_mask": mask, "enable_gqa": heads != 4}
    wanted = functional.scaled_dot_product_attention(query, key, key, **settings)
    with counting():
        hollow = [each.to("meta") for each in (query, key, key)]
        found = functional.scaled_dot_product_attention(
            *hollow, attn_mask=mask.to("meta"), enable_gqa=heads != 4
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


# ---- whole models -------------------------------------------------------------------------------


def rows_for(model: JanusFlowForConditionalGeneration, *, length: int) -> Rows:
    """Two rows: words, then an image to draw."""
    room = 1 + model.config.generation.num_tokens
    positions = torch.arange(length).repeat(2, 1)
    is_drawing = positions >= length - room
    return Rows(
        token_ids=torch.full((2, length), 7),
        position_ids=positions,
        segment_ids=torch.zeros_like(positions),
        branches=torch.zeros_like(positions),
        is_drawing=is_drawing,
        drawing_positions=flat_positions(is_drawing),
    )


def read(model: JanusFlowForConditionalGeneration, *, length: int, device: str) -> Tensor:
    """Draw and read, and sum up what comes out."""
    flow = model.config.generation
    rows = rows_for(model, length=length)
    learnt = flat_positions((rows.position_ids > 0) & (rows.position_ids < 6)).to(device)
    rows = to_device(rows, torch.device(device))
    reading = model.read_rows(
        rows,
        learnt_positions=learnt,
        x_t=torch.zeros(2, flow.latent_channels, flow.latent_size, flow.latent_size, device=device),
        t=torch.zeros(2, device=device),
    )
    assert reading.velocity is not None
    return reading.logits.sum() + reading.velocity.sum()


def mini_model() -> JanusFlowForConditionalGeneration:
    folder = Path(janusflow.mini.__path__[0]) / "assets"
    return load_model(folder, dtype=torch.float32)


MODELS = {"tiny": tiny_model, "another family": qwen3_model, "mini": mini_model}


@pytest.mark.parametrize("name", MODELS)
def test_counts_are_torchs_own_to_two_percent_forward_and_backward(name: str):
    """Its counter sees attention in its unfused form, which stores scores: one product less."""
    model, length = MODELS[name](), 120
    with counting() as meter:
        loss = read(model, length=length, device="cpu")
        forward = meter.flops
        loss.backward()
    formulas = {aten.convolution_backward: convolution_backward_flops}
    counter = FlopCounterMode(display=False, custom_mapping=formulas)
    with sdpa_kernel(SDPBackend.MATH), counter:
        loss = read(model, length=length, device="cpu")
        wanted = counter.get_total_flops()
        loss.backward()
    llm = model.config.llm_config
    width = llm.num_attention_heads * llm.head_dim
    scores = 2 * llm.num_hidden_layers * 2 * length**2 * width
    assert forward == pytest.approx(wanted, rel=0.02)
    assert meter.flops == pytest.approx(counter.get_total_flops() + scores, rel=0.02)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_without_memory_counts_as_a_real_one(name: str):
    real = MODELS[name]()
    hollow = on_meta(real.config).float()
    real.llm.set_attn_implementation("sdpa")  # whole rows, as without memory
    found = []
    for model, device in ((real, "cpu"), (hollow, "meta")):
        with counting(trained=model) as meter:
            read(model, length=120, device=device).backward()
        found.append((meter.flops, meter.peak_bytes))
    assert found[0] == found[1]
    assert all(value > 0 for value in found[0])


def test_the_llm_takes_two_operations_a_weight_and_token_and_its_attention():
    """The usual estimate: 2 N a token, and 4 L T^2 d for the scores and their sums."""
    model, length = mini_model(), 120
    with counting() as meter:
        read(model, length=length, device="cpu")
    llm = model.llm
    blocks = sum(p.numel() for p in llm.base_model.layers.parameters() if p.ndim == 2)
    attention = 4 * model.config.llm_config.num_hidden_layers * length**2 * model.config.hidden_size
    head = 2 * 10 * model.config.hidden_size * model.config.llm_config.vocab_size
    wanted = 2 * (2 * length * blocks + attention) + head
    assert meter.flops_of(type(model.llm).__name__) == pytest.approx(wanted, rel=0.02)
