"""Velocity, tower, reading a conversation and one more token leave Python, at any prompt length.

By `torch.export`; tests/interop/onnx has what goes on to ONNX.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jaxtyping
import pytest
import torch
from tiny_model import tiny_config, tiny_model
from torch import Tensor, nn
from torch.export import Dim
from transformers import DynamicCache

from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt, count_positions

CONFIG = tiny_config()
SPAN = [
    CONFIG.image_start_token_id,
    *[CONFIG.image_token_id] * CONFIG.generation.num_tokens,
    CONFIG.image_end_token_id,
]


@pytest.fixture(autouse=True)
def unchecked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checks of shapes would be traced, and fix them."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


class Exported(nn.Module):
    """A call of the model by tensors alone."""

    def __init__(self, model: JanusFlowForConditionalGeneration) -> None:
        super().__init__()
        self.model = model


class Velocity(Exported):
    def forward(self, x_t: Tensor, t: Tensor, token_ids: Tensor, mask: Tensor) -> Tensor:
        positions = count_positions(mask)
        prompt = Prompt(token_ids=token_ids, attention_mask=mask, position_ids=positions)
        return self.model.velocity(x_t, t, prompt)


class Tower(Exported):
    def forward(self, pixel_values: Tensor) -> Tensor:
        return self.model.embed_images(self.model.image_features(pixel_values))


class Prefill(Exported):
    def forward(self, token_ids: Tensor, mask: Tensor, pixel_values: Tensor) -> tuple[Tensor, ...]:
        output = self.model(token_ids, mask, pixel_values=pixel_values, use_cache=True)
        caches = [each for layer in output.cache.layers for each in (layer.keys, layer.values)]
        return output.logits, *caches


class TokenStep(Exported):
    """Keys and values of two blocks come in one by one."""

    def forward(
        self, token_id: Tensor, mask: Tensor, k0: Tensor, v0: Tensor, k1: Tensor, v1: Tensor
    ) -> tuple[Tensor, ...]:
        cache = DynamicCache(config=self.model.config.llm_config)
        cache.update(k0, v0, 0)
        cache.update(k1, v1, 1)
        output = self.model(token_id, mask, cache=cache, use_cache=True)
        caches = [each for layer in output.cache.layers for each in (layer.keys, layer.values)]
        return output.logits, *caches


class Case(NamedTuple):
    module: type[Exported]
    inputs: Callable[[int, int], tuple[Tensor, ...]]
    """Of a batch size and a prompt length."""
    dims: dict[str, Any]


def words(batch: int, length: int) -> tuple[Tensor, Tensor]:
    """The first row is padded on the left."""
    mask = torch.ones(batch, length, dtype=torch.long)
    mask[0, 0] = 0
    ids = torch.randint(40, 200, (batch, length), generator=torch.Generator().manual_seed(length))
    return ids, mask


def asked(batch: int, length: int) -> tuple[Tensor, ...]:
    ids, mask = words(batch, length)
    ids = torch.cat([ids, torch.tensor([SPAN] * batch), ids + 1], dim=1)
    mask = torch.cat([mask, torch.ones(batch, len(SPAN) + length, dtype=torch.long)], dim=1)
    return ids, mask, torch.randn(batch, 3, 64, 64)


def step(batch: int, length: int) -> tuple[Tensor, ...]:
    caches = [torch.randn(batch, 2, length, 16) for _ in range(4)]
    mask = torch.nn.functional.pad(words(batch, length)[1], (0, 1), value=1)
    return torch.full((batch, 1), 41), mask, *caches


B, T = Dim("batch", min=2, max=64), Dim("tokens", min=2, max=1000)
ROWS = {0: B, 1: T}
CASES = {
    "velocity": Case(
        Velocity,
        lambda b, t: (torch.randn(b, 4, 8, 8), torch.rand(b), *words(b, t)),
        {"x_t": {0: B}, "t": {0: B}, "token_ids": ROWS, "mask": ROWS},
    ),
    "tower": Case(Tower, lambda b, _: (torch.randn(b, 3, 64, 64),), {"pixel_values": {0: B}}),
    "prefill": Case(Prefill, asked, {"token_ids": ROWS, "mask": ROWS, "pixel_values": {0: B}}),
    "token": Case(
        TokenStep,
        step,
        {"token_id": {0: B}, "mask": {0: B, 1: T + 1}}
        | {name: {0: B, 2: T} for name in ("k0", "v0", "k1", "v1")},
    ),
}


def module_of(case: Case, image_attention: str) -> Exported:
    model = tiny_model()
    model.config.change_image_attention(image_attention)
    return case.module(model).eval()


def outputs(module: Callable[..., Any], inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    with torch.no_grad():
        given = module(*inputs)
    return given if isinstance(given, tuple) else (given,)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("image_attention", ["causal", "bidirectional"])
def test_exported_calls_are_the_models_at_other_lengths(name: str, image_attention: str):
    case = CASES[name]
    module = module_of(case, image_attention)
    program = torch.export.export(module, case.inputs(2, 7), dynamic_shapes=case.dims).module()
    for batch, length in ((3, 5), (2, 12)):
        inputs = case.inputs(batch, length)
        expected = outputs(module, inputs)
        for own, other in zip(outputs(program, inputs), expected, strict=True):
            torch.testing.assert_close(own, other, atol=1e-5, rtol=0)
