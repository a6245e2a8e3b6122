"""Packed rows: every sample reads as if it stood alone, on both halves of the model."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from tiny_model import padded_prompt, qwen3_model, tiny_config, tiny_model
from torch import Tensor
from torch._dynamo.testing import CompileCounter
from torch.nn import functional

from janusflow.config.errors import ConfigError, PromptError
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.packed_attention import use_packed_attention
from janusflow.model.rows import PAD_SEGMENT, PREFIX_BRANCH, Rows, flat_positions

BOS, PAD = 0, 2
PROMPT = [BOS, 40, 41, 42]
PATCHES = 16


def with_repa(block: int = 1) -> JanusFlowConfig:
    config = tiny_config()
    config.repa = {"block": block, "hidden_size": 16}
    return config


def seen_span(config: JanusFlowConfig) -> list[int]:
    ids = config
    return [ids.image_start_token_id, *[ids.image_token_id] * PATCHES, ids.image_end_token_id]


def rows_of(*samples: list[int], drawn: tuple[int, ...] = ()) -> Rows:
    """One row; samples numbered in `drawn` get an image's room after their tokens."""
    ids, positions, numbers, is_drawing = [], [], [], []
    for number, tokens in enumerate(samples):
        room = 1 + PATCHES if number in drawn else 0
        ids += tokens + [PAD] * room
        positions += range(len(tokens) + room)
        numbers += [number] * (len(tokens) + room)
        is_drawing += [False] * len(tokens) + [True] * room
    return Rows(
        token_ids=torch.tensor([ids]),
        position_ids=torch.tensor([positions]),
        segment_ids=torch.tensor([numbers]),
        branches=torch.full((1, len(ids)), PREFIX_BRANCH),
        is_drawing=torch.tensor([is_drawing]),
    )


def learnt(rows: Rows, *positions: int) -> Tensor:
    mask = torch.zeros_like(rows.token_ids, dtype=torch.bool)
    mask[0, list(positions)] = True
    return flat_positions(mask)


def latents(num: int) -> Tensor:
    return torch.randn(num, 4, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("make", [tiny_model, qwen3_model], ids=["llama", "qwen3"])
@torch.no_grad()
def test_a_packed_row_gives_what_the_models_other_methods_give(
    make: Callable[[], JanusFlowForConditionalGeneration],
):
    """A text, an image to draw, an image that is seen, and one more to draw."""
    model = make()
    text, asked = [BOS, 50, 51, 52], [BOS, *seen_span(model.config), 60, 61]
    rows = rows_of(text, PROMPT, asked, [BOS, 45], drawn=(1, 3))
    pixels, x_t, t = torch.randn(1, 3, 64, 64), latents(2), torch.tensor([0.2, 0.7])
    start = len(text) + len(PROMPT) + 1 + PATCHES
    reading = model.read_rows(
        rows,
        learnt_positions=learnt(rows, 1, 3, start + len(asked) - 1),
        pixel_values=pixels,
        x_t=x_t,
        t=t,
    )
    plain = model(torch.tensor([text])).logits[0]
    seen = model(torch.tensor([asked]), pixel_values=pixels).logits[0]
    expected = torch.stack([plain[0], plain[2], seen[-2]])
    torch.testing.assert_close(reading.logits, expected, atol=2e-5, rtol=0)
    prompts = padded_prompt([PROMPT, [BOS, 45]], pad_token_id=PAD)
    velocity = model.velocity(x_t, t, prompts)
    torch.testing.assert_close(reading.velocity, velocity, atol=2e-5, rtol=0)
    assert reading.alignment is None


def test_every_parameter_learns_from_one_loss_or_another():
    """Seeing, drawing and alignment together reach all but what the release never runs."""
    torch.manual_seed(0)
    model = JanusFlowForConditionalGeneration(with_repa())
    rows = rows_of([BOS, *seen_span(model.config), 40], PROMPT, drawn=(1,))
    reading = model.read_rows(
        rows,
        learnt_positions=learnt(rows, 2 + len(seen_span(model.config)) - 1),
        pixel_values=torch.randn(1, 3, 64, 64),
        x_t=latents(1),
        t=torch.tensor([0.4]),
        align=True,
    )
    assert reading.velocity is not None
    assert reading.alignment is not None
    parts = (reading.logits, reading.velocity, reading.alignment)
    sum(part.square().mean() for part in parts).backward()
    silent = {
        name
        for name, parameter in model.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    }
    # The pooling head is stored by the release and never run. A bias of keys moves every score of
    # a row by the same amount, which softmax ignores.
    allowed = {name for name in silent if ".head." in name or name.endswith("k_proj.bias")}
    # Response norms and modulations start at zero, which is a start, not an end: their own
    # gradients are not zero.
    assert silent - allowed == set()


def drawing(model: JanusFlowForConditionalGeneration, num: int = 1, *, align: bool = True):
    rows = rows_of(*[PROMPT] * num, drawn=tuple(range(num)))
    t = torch.linspace(0.1, 0.8, num)
    return model.read_rows(rows, learnt_positions=learnt(rows), x_t=latents(num), t=t, align=align)


@pytest.mark.parametrize("block", [1, 2], ids=["between blocks", "at the end"])
@torch.no_grad()
def test_the_repa_head_reads_what_transformers_calls_the_hidden_states_of_its_block(
    monkeypatch: pytest.MonkeyPatch, block: int
):
    model, asked = JanusFlowForConditionalGeneration(with_repa(block)), {}
    forward = model.llm.forward
    monkeypatch.setattr(model.llm, "forward", lambda **all_: asked.update(all_) or forward(**all_))
    reading = drawing(model)
    states = forward(**asked, output_hidden_states=True).hidden_states
    assert len(states) == 3
    expected = model.repa_head(states[block][:, len(PROMPT) + 1 :])
    torch.testing.assert_close(reading.alignment, expected)


def test_the_output_layer_runs_on_learnt_positions_alone():
    model, num_positions = tiny_model(), []
    model.llm.lm_head.register_forward_hook(lambda _, x, __: num_positions.append(x[0].shape[:-1]))
    rows = rows_of([BOS, 40, 41, 42], [BOS, 50], [BOS, 51, 52])
    reading = model.read_rows(rows, learnt_positions=learnt(rows, 1, 3, 7))
    assert num_positions == [(3,)]
    assert len(reading.logits) == 3
    assert not model.llm.lm_head._forward_pre_hooks


def test_alignment_is_one_guess_an_image_token():
    model = JanusFlowForConditionalGeneration(with_repa())
    reading = drawing(model, 2)
    vision_size = model.config.vision_config.hidden_size
    assert reading.alignment is not None
    assert reading.alignment.shape == (2, model.config.generation.num_tokens, vision_size)
    assert reading.logits.shape == (0, 272)
    assert drawing(model, align=False).alignment is None


def test_alignment_reads_the_chosen_block():
    """Blocks after the chosen one do not reach the alignment."""
    model = JanusFlowForConditionalGeneration(with_repa(block=1))
    alignment = drawing(model).alignment
    assert alignment is not None
    alignment.square().mean().backward()
    first, second = model.llm.model.layers
    assert first.mlp.up_proj.weight.grad is not None
    assert second.mlp.up_proj.weight.grad is None


def test_alignment_without_a_head_is_refused(model: JanusFlowForConditionalGeneration):
    with pytest.raises(ConfigError, match="no REPA head"):
        drawing(model)


def test_another_number_of_images_to_draw_is_refused(model: JanusFlowForConditionalGeneration):
    rows = rows_of(PROMPT, drawn=(0,))
    two = {"x_t": latents(2), "t": torch.tensor([0.1, 0.2])}
    with pytest.raises(PromptError, match=r"34 tokens .* 17 drawing positions .*one noisy latent"):
        model.read_rows(rows, learnt_positions=learnt(rows), **two)


def hidden_prompt_and_padding() -> Rows:
    """Rows of a text and a drawing whose prompt is hidden, and of a branching text and padding."""
    drawn = rows_of([BOS, 50, 51], PROMPT, drawn=(1,))
    length = drawn.token_ids.shape[1]
    start = 3 + 1
    drawn.segment_ids[0, start : start + len(PROMPT) - 1] = PAD_SEGMENT
    other = rows_of([BOS, 60, 61, 62, 63, 64], [PAD] * (length - 6))
    other.segment_ids[0, 6:] = PAD_SEGMENT
    other.branches[0, 2:6] = torch.tensor([1, 1, 2, 2])
    fields = [name for name in Rows.__dataclass_fields__ if name != "drawing_positions"]
    return Rows(**{f: torch.cat([getattr(drawn, f), getattr(other, f)]) for f in fields})


@pytest.mark.parametrize("make", [tiny_model, qwen3_model], ids=["llama", "qwen3"])
@pytest.mark.parametrize("image_attention", ["causal", "bidirectional"])
def test_samples_apart_attend_as_whole_rows_do_and_learn_the_same(
    make: Callable[[], JanusFlowForConditionalGeneration], image_attention: str
):
    model = make()
    model.config.image_attention = image_attention
    rows = hidden_prompt_and_padding()
    is_learnt = torch.zeros_like(rows.token_ids, dtype=torch.bool)
    is_learnt[0, 1:3], is_learnt[1, 3], is_learnt[1, 5] = True, True, True
    positions = flat_positions(is_learnt)

    def read() -> list[Tensor]:
        model.zero_grad()
        t = torch.tensor([0.3])
        reading = model.read_rows(rows, learnt_positions=positions, x_t=latents(1), t=t)
        assert reading.velocity is not None
        (reading.logits.square().mean() + reading.velocity.square().mean()).backward()
        grads = [p.grad for p in model.llm.parameters() if p.grad is not None]
        return [reading.logits, reading.velocity, *grads]

    use_packed_attention(model.llm)
    apart = read()
    model.llm.set_attn_implementation("sdpa")
    whole = read()
    assert len(apart) == len(whole) > 10
    for own, other in zip(apart, whole, strict=True):
        torch.testing.assert_close(own, other, atol=2e-5, rtol=1e-4)


@pytest.fixture
def num_scores(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What each attention computes."""
    num_scores, original = [], functional.scaled_dot_product_attention

    def counted(query: Tensor, key: Tensor, value: Tensor, **settings: Any) -> Tensor:
        num_scores.append(query.shape[-2] * key.shape[-2])
        return original(query, key, value, **settings)

    monkeypatch.setattr(functional, "scaled_dot_product_attention", counted)
    return num_scores


def test_scores_are_computed_within_samples_alone(num_scores: list[int]):
    model = tiny_model()
    use_packed_attention(model.llm)
    rows = rows_of([BOS, 40, 41, 42], [BOS, 50], [BOS, 51, 52])
    model.read_rows(rows, learnt_positions=learnt(rows, 1))
    layers = model.config.llm_config.num_hidden_layers
    assert sum(num_scores) == layers * (4 * 4 + 2 * 2 + 3 * 3)


@torch.no_grad()
def test_compiled_blocks_attend_within_samples_and_are_compiled_once_for_all_lengths(
    num_scores: list[int],
):
    model, compiled = tiny_model(), CompileCounter()
    text, counts = [BOS, 40, 41, 42, 43, 44], []
    alone = model(torch.tensor([text])).logits[0, :1]
    use_packed_attention(model.llm)
    for block in model.llm.base_model.layers:
        block.compile(backend=compiled)
    for length in (2, 3, 4):
        rows = rows_of(text[:length], text[: 6 - length])
        num_scores.clear()
        reading = model.read_rows(rows, learnt_positions=learnt(rows, 1))
        torch.testing.assert_close(reading.logits, alone, atol=2e-5, rtol=0)
        layers = model.config.llm_config.num_hidden_layers
        assert sum(num_scores) == layers * (length**2 + (6 - length) ** 2)
        counts.append(compiled.frame_count)
    assert counts[0] > 0
    assert len(set(counts)) == 1
