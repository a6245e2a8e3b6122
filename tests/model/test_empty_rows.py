"""No row of a mask is empty: with kernels that give NaN for such rows, all comes out as before."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_model import padded_prompt, tiny_config, tiny_janusflow, tiny_model
from torch import Tensor
from torch.nn import functional

from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.packed_attention import use_packed_attention
from janusflow.model.prompt import with_unconditional
from janusflow.model.rows import PAD_SEGMENT, Rows, flat_positions

CONFIG = tiny_config()
BOS, PAD = CONFIG.bos_token_id, CONFIG.pad_token_id
PATCHES = CONFIG.generation.num_tokens
SPAN = [
    CONFIG.image_start_token_id,
    *[CONFIG.image_token_id] * PATCHES,
    CONFIG.image_end_token_id,
]
PROMPTS = [[BOS, 40, 41, 42, 43], [BOS, 44]]


@pytest.fixture
def met(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """SDPA gives NaN in rows that attend to nothing; how many it met, call by call."""
    met, original = [], functional.scaled_dot_product_attention

    def with_nan(*args: Tensor, attn_mask: Tensor | None = None, **settings: Any) -> Tensor:
        output = original(*args, attn_mask=attn_mask, **settings)
        if attn_mask is None:
            return output
        is_bool = attn_mask.dtype == torch.bool
        lowest = None if is_bool else torch.finfo(attn_mask.dtype).min
        is_empty = ~(attn_mask if is_bool else attn_mask > lowest).any(-1, keepdim=True)
        met.append(int(is_empty.sum()))
        return torch.where(is_empty, torch.full_like(output, torch.nan), output)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", with_nan)
    return met


@pytest.fixture(params=["causal", "bidirectional"])
def model(request: pytest.FixtureRequest) -> JanusFlowForConditionalGeneration:
    model = tiny_model()
    model.config.change_image_attention(request.param)
    return model


def check_rows(met: list[int], *outputs: Tensor) -> None:
    """Masks were used, none with an empty row, and nothing is NaN."""
    assert len(met) > 0
    assert set(met) == {0}
    assert all(output.isfinite().all() for output in outputs)


@torch.no_grad()
def test_prompts_of_different_length_and_their_unconditional_branch(
    model: JanusFlowForConditionalGeneration, met: list[int]
):
    prompts = padded_prompt(PROMPTS, pad_token_id=PAD)
    both = with_unconditional(prompts)
    x_t, t = torch.randn(4, 4, 8, 8), torch.rand(4)
    cache = model.encode_prompt(both)
    keys = [layer.keys for layer in cache.cache.layers]
    check_rows(met, model.velocity(x_t, t, both), model.velocity(x_t, t, cache), *keys)


@torch.no_grad()
def test_conversations_of_different_length(
    model: JanusFlowForConditionalGeneration, met: list[int]
):
    rows = [[BOS, *SPAN, 40, 41], [PAD] * (len(SPAN) + 1) + [BOS, 42]]
    mask = (torch.tensor(rows) != PAD).long()
    output = model(torch.tensor(rows), attention_mask=mask, pixel_values=torch.randn(1, 3, 64, 64))
    check_rows(met, output.logits, *(layer.keys for layer in output.cache.layers))


@torch.no_grad()
@pytest.mark.parametrize("is_packed", [False, True])
def test_training_rows_with_a_dropped_prompt_and_padding(
    model: JanusFlowForConditionalGeneration, met: list[int], is_packed: bool
):
    room = 1 + PATCHES
    segments = [0, PAD_SEGMENT, PAD_SEGMENT, 0, *[0] * room, 1, 1, PAD_SEGMENT]
    length = len(segments)
    is_drawing = torch.zeros(1, length, dtype=torch.bool)
    is_drawing[0, 4 : 4 + room] = True
    rows = Rows(
        token_ids=torch.full((1, length), 40),
        position_ids=torch.arange(length)[None],
        segment_ids=torch.tensor([segments]),
        branches=torch.zeros(1, length, dtype=torch.long),
        is_drawing=is_drawing,
    )
    is_learnt = torch.zeros(1, length, dtype=torch.bool)
    is_learnt[0, -2] = True
    positions = flat_positions(is_learnt)
    if is_packed:
        use_packed_attention(model.llm)
    reading = model.read_rows(
        rows, learnt_positions=positions, x_t=torch.randn(1, 4, 8, 8), t=torch.tensor([0.5])
    )
    assert reading.velocity is not None
    check_rows(met, reading.logits, reading.velocity)


CALLS: dict[str, Callable[[Any], list[Any]]] = {
    "prompts": lambda jf: jf.generate(["a star", "a large red circle"], steps=2, seed=0),
    "negative": lambda jf: jf.generate(
        "a star", negative_prompt="a large red circle", num_images=2, steps=2, seed=0
    ),
    "questions": lambda jf: jf.ask(None, ["What?", "What colour is this?"], max_new_tokens=4),
}


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("image_attention", ["causal", "bidirectional"])
def test_images_and_answers_are_the_same(
    call: str, image_attention: str, monkeypatch: pytest.MonkeyPatch, request: Any
):
    jf = tiny_janusflow()
    jf.model.config.change_image_attention(image_attention)
    expected = CALLS[call](jf)
    met = request.getfixturevalue("met")
    found = CALLS[call](jf)
    assert set(met) == {0}
    if call == "questions":
        assert found == expected
    else:
        assert [a.tobytes() for a in found] == [b.tobytes() for b in expected]


# ---- loss and gradients of a padded batch -----------------------------------------------------

TEXTS = [[BOS, 40, 41, 42, 43, 44], [BOS, 50, 51]]


def padded(rows: list[list[int]], side: str) -> tuple[Tensor, Tensor]:
    length = max(map(len, rows))
    fills = [[PAD] * (length - len(row)) for row in rows]
    ids = [fill + row if side == "left" else row + fill for row, fill in zip(rows, fills)]  # noqa: B905
    masks = [
        [0] * len(fill) + [1] * len(row) if side == "left" else [1] * len(row) + [0] * len(fill)
        for row, fill in zip(rows, fills)  # noqa: B905
    ]
    return torch.tensor(ids), torch.tensor(masks)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
def test_a_padded_batch_learns_what_its_rows_learn_alone(
    model: JanusFlowForConditionalGeneration, side: str, implementation: str
):
    """Every token is a label, as collators make them: -100 on padding only."""
    model.set_attn_implementation(implementation)
    ids, mask = padded(TEXTS, side)
    nums = [len(row) - 1 for row in TEXTS]

    def learn(losses: list[Tensor], weights: list[int]) -> list[Tensor]:
        model.zero_grad()
        loss = sum(n * one for n, one in zip(weights, losses, strict=True)) / sum(weights)
        loss.backward()
        grads = [p.grad.clone() for p in model.llm.parameters() if p.grad is not None]
        return [loss.detach(), *grads]

    labels = ids.masked_fill(mask == 0, -100)
    together = learn([model(ids, attention_mask=mask, labels=labels).loss], [1])
    rows = [torch.tensor([row]) for row in TEXTS]
    alone = learn([model(row, labels=row).loss for row in rows], nums)
    assert len(together) == len(alone) > 10
    for own, other in zip(together, alone, strict=True):
        torch.testing.assert_close(own, other, atol=1e-6, rtol=1e-4)
