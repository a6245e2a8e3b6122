"""Attention among an image's own positions, causal or both ways: rows, batches, prompt caches."""

from typing import Any

import pytest
import torch
from tiny_model import padded_prompt, qwen3_model, tiny_config, tiny_model
from torch import Tensor
from transformers import DynamicCache, LlamaConfig, MistralConfig, PreTrainedConfig, Qwen3Config

from janusflow.config.errors import ConfigError
from janusflow.model.attention import llm_mask, number_images
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import with_unconditional
from janusflow.model.rows import PAD_SEGMENT, PREFIX_BRANCH, Rows, flat_positions

CONFIG = tiny_config()
BOS, PAD = CONFIG.bos_token_id, CONFIG.pad_token_id
PATCHES = CONFIG.generation.num_tokens
SPAN = [
    CONFIG.image_start_token_id,
    *[CONFIG.image_token_id] * PATCHES,
    CONFIG.image_end_token_id,
]
ASKED = [BOS, *SPAN, 40, 41]
PROMPT = [BOS, 42, 43]
ROW = [*ASKED, *PROMPT, *[PAD] * (1 + PATCHES)]
"""An image that is seen, then one to draw, packed."""


def looking_ahead(config: JanusFlowConfig | None = None) -> JanusFlowConfig:
    config = tiny_config() if config is None else config
    config.image_attention = "bidirectional"
    return config


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def ahead(request: pytest.FixtureRequest) -> JanusFlowForConditionalGeneration:
    """A model whose images see ahead."""
    model = tiny_model() if request.param == "llama" else qwen3_model()
    looking_ahead(model.config)
    return model


def packed_row() -> Rows:
    drawn = 1 + PATCHES
    return Rows(
        token_ids=torch.tensor([ROW]),
        position_ids=torch.tensor([[*range(len(ASKED)), *range(len(PROMPT) + drawn)]]),
        segment_ids=torch.tensor([[0] * len(ASKED) + [1] * (len(PROMPT) + drawn)]),
        branches=torch.full((1, len(ROW)), PREFIX_BRANCH),
        is_drawing=torch.tensor([[False] * (len(ROW) - drawn) + [True] * drawn]),
    )


def latents(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 4, 8, 8, generator=torch.Generator().manual_seed(seed))


def images(num: int, seed: int = 0) -> Tensor:
    return torch.randn(num, 3, 64, 64, generator=torch.Generator().manual_seed(seed))


def dense(spans: list[tuple[int, int]], length: int) -> Tensor:
    """Earlier positions, and all of one's own span; [1, 1, t, t]."""
    return mask_by_loops([[True] * length] * length, spans)[None, None]


# ---- who sees whom ----------------------------------------------------------------------------


def test_images_are_numbered_and_neighbours_stay_apart():
    start, image, end = SPAN[0], CONFIG.image_token_id, SPAN[-1]
    tokens = torch.tensor([[BOS, start, image, image, start, image, end, 40, PAD, PAD, PAD]])
    is_generation = torch.tensor([[False] * 9 + [True] * 2])
    numbers = number_images(tokens, looking_ahead(), is_generation)
    assert numbers is not None
    assert numbers.tolist() == [[-1, 0, 0, 0, 1, 1, -1, -1, -1, 2, 2]]
    assert number_images(tokens, tiny_config()) is None


def sdpa_config(**settings: Any) -> PreTrainedConfig:
    config = LlamaConfig(**settings)
    config._attn_implementation = "sdpa"
    return config


def test_sdpa_is_left_to_its_causal_kernel_where_nothing_is_padded():
    """That kernel is the fast one: no mask is made for it."""
    embeds, config = torch.zeros(2, 5, 4), sdpa_config()
    assert llm_mask(config, embeds, None) is None
    assert llm_mask(config, embeds, torch.ones(2, 5, dtype=torch.long)) is None
    padded = torch.tensor([[1] * 5, [0, 0, 1, 1, 1]])
    assert llm_mask(config, embeds, padded).dtype == torch.bool


def mask_by_loops(visible: list[list[bool]], spans: list[tuple[int, int]] = ()) -> Tensor:
    """The rule as loops: itself, and of what is visible the earlier and its own span; [t, t]."""
    length = len(visible)
    mask = torch.zeros(length, length, dtype=torch.bool)
    for i in range(length):
        for j in range(length):
            together = any(low <= i < high and low <= j < high for low, high in spans)
            mask[i, j] = i == j or (visible[i][j] and (j <= i or together))
    return mask


def test_a_packed_rows_mask_shows_what_the_rule_says():
    """Two samples, a branch, hidden words and padding; the spans are written down by hand."""
    samples = [0, 0, 0, 0, 0, 3, PAD_SEGMENT, 3, 3, 3, 5, PAD_SEGMENT]
    branches = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    numbers = [-1, 0, 0, 0, -1, -1, -1, 1, 1, 1, -1, -1]
    rows = Rows(
        token_ids=torch.zeros(1, 12, dtype=torch.long),
        position_ids=torch.zeros(1, 12, dtype=torch.long),
        segment_ids=torch.tensor([samples]),
        branches=torch.tensor([branches]),
        is_drawing=torch.zeros(1, 12, dtype=torch.bool),
    )
    visible = [
        [
            samples[i] == samples[j] != PAD_SEGMENT and branches[j] in (branches[i], PREFIX_BRANCH)
            for j in range(12)
        ]
        for i in range(12)
    ]
    for images, spans in ((None, []), (torch.tensor([numbers]), [(1, 4), (7, 10)])):
        embeds = torch.zeros(1, 12, 4)
        mask = llm_mask(sdpa_config(), embeds, None, images=images, rule=rows.rule())
        assert torch.equal(mask[0, 0], mask_by_loops(visible, spans))


def cache_of(length: int) -> DynamicCache:
    cache = DynamicCache(config=sdpa_config(num_hidden_layers=1))
    cache.update(torch.zeros(2, 1, length, 4), torch.zeros(2, 1, length, 4), 0)
    return cache


def test_the_last_positions_masks_are_the_last_lines_of_the_whole():
    """What a cache holds need not be read again."""
    numbers = torch.tensor([[-1, -1, 0, 0, 0, -1], [-1, -1, -1, 1, 1, 1]])
    real = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    config = sdpa_config()
    whole = llm_mask(config, torch.zeros(2, 6, 4), real, images=numbers)
    for num in range(1, 6):
        embeds, cache = torch.zeros(2, num, 4), cache_of(6 - num)
        last = llm_mask(config, embeds, real, cache=cache, images=numbers)
        assert torch.equal(last, whole[:, :, -num:])
    assert not whole[1, 0, 2:, :2].any()
    assert whole[1, 0, :2, :2].equal(torch.eye(2, dtype=torch.bool))


def test_windows_of_an_llm_bound_what_positions_attend_to():
    """Where all layers slide, and where each kind of layer has its own mask."""
    numbers = torch.tensor([[0, 0, 0, -1, -1]])
    window = torch.ones(5, 5, dtype=torch.bool).triu(-1)
    full = torch.ones(5, 5, dtype=torch.bool).tril()
    full[:3, :3] = True
    sliding, mixed = (
        MistralConfig(sliding_window=2),
        Qwen3Config(sliding_window=2, use_sliding_window=True),
    )
    mixed.layer_types = ["full_attention", "sliding_attention"]
    for config in (sliding, mixed):
        config._attn_implementation = "sdpa"
    embeds = torch.zeros(1, 5, 4)
    assert torch.equal(llm_mask(sliding, embeds, None, images=numbers)[0, 0], full & window)
    masks = llm_mask(mixed, embeds, None, images=numbers)
    assert torch.equal(masks["full_attention"][0, 0], full)
    assert torch.equal(masks["sliding_attention"][0, 0], full & window)


def test_every_implementation_gets_its_own_kind_of_mask():
    config, embeds = sdpa_config(), torch.zeros(1, 3, 4)
    padding, numbers = torch.tensor([[0, 1, 1]]), torch.tensor([[-1, 0, 0]])
    config._attn_implementation = "eager"
    added = llm_mask(config, embeds, padding, images=numbers)
    lowest = torch.finfo(torch.float32).min
    assert added[0, 0].tolist() == [[0.0, lowest, lowest], [lowest, 0.0, 0.0], [lowest, 0.0, 0.0]]
    config._attn_implementation = "flash_attention_2"
    assert llm_mask(config, embeds, padding) is padding
    with pytest.raises(ConfigError, match=r"attn_implementation=flash_attention_2 cannot .* sdpa"):
        llm_mask(config, embeds, padding, images=numbers)


# ---- against a dense mask ---------------------------------------------------------------------


@torch.no_grad()
def test_answers_are_those_of_a_dense_mask(ahead: JanusFlowForConditionalGeneration):
    """Left padding and two images in one row."""
    row = [PAD, PAD, *ASKED, *SPAN, 44]
    seen = images(2)
    logits = ahead(
        torch.tensor([row]),
        attention_mask=torch.tensor([[0, 0] + [1] * (len(row) - 2)]),
        pixel_values=seen,
    ).logits
    embeds = ahead.embed_conversation(torch.tensor([row[2:]]), seen)
    length, second = embeds.shape[1], len(ASKED)
    spans = [(1, 2 + PATCHES), (second, second + 1 + PATCHES)]
    expected = ahead.llm(
        inputs_embeds=embeds,
        attention_mask=dense(spans, length),
        use_cache=False,
    ).logits
    torch.testing.assert_close(logits[:, 2:], expected, atol=2e-5, rtol=0)


def dense_velocity(
    model: JanusFlowForConditionalGeneration, x_t: Tensor, t: Tensor, row: list[int]
) -> Tensor:
    """One image after one prompt, both in one pass under a mask made by loops."""
    encoded = model.generation_encoder(x_t, t)
    tokens = model._image_tokens(encoded)
    words = model.llm.get_input_embeddings()(torch.tensor([row]))
    length = len(row) + tokens.shape[1]
    hidden = model.llm.base_model(
        inputs_embeds=torch.cat([words, tokens], dim=1),
        attention_mask=dense([(len(row), length)], length),
        use_cache=False,
    ).last_hidden_state
    return model._decoded(hidden[:, len(row) :], encoded)


@torch.no_grad()
def test_an_image_is_drawn_as_by_a_dense_mask_with_a_cache_and_without(
    ahead: JanusFlowForConditionalGeneration,
):
    """Prompts of two lengths side by side, several steps from one cache."""
    rows = [PROMPT, [BOS, *range(44, 50)]]
    prompts = padded_prompt(rows, pad_token_id=PAD)
    cache = ahead.encode_prompt(prompts)
    for step in range(2):
        x_t, t = latents(2, seed=step), torch.tensor([0.2, 0.7])
        expected = torch.cat(
            [dense_velocity(ahead, x_t[i, None], t[i, None], row) for i, row in enumerate(rows)]
        )
        for prompt in (prompts, cache):
            velocity = ahead.velocity(x_t, t, prompt)
            torch.testing.assert_close(velocity, expected, atol=2e-5, rtol=0)


@torch.no_grad()
def test_the_unconditional_branch_goes_through_the_cache_too(
    ahead: JanusFlowForConditionalGeneration,
):
    prompt = padded_prompt([PROMPT], pad_token_id=PAD)
    both = with_unconditional(prompt)
    x_t, t = latents(1).expand(2, -1, -1, -1), torch.tensor([0.3, 0.3])
    uncached = ahead.velocity(x_t, t, both)
    cached = ahead.velocity(x_t, t, ahead.encode_prompt(both))
    torch.testing.assert_close(cached, uncached, atol=1e-5, rtol=0)
    assert (cached[0] - cached[1]).abs().max() > 1e-4


@torch.no_grad()
def test_a_packed_row_gives_what_its_samples_give_alone(ahead: JanusFlowForConditionalGeneration):
    """So nothing of one sample reaches the other, whichever way images look."""
    rows, seen, x_t, t = packed_row(), images(1), latents(1), torch.tensor([0.4])
    is_learnt = torch.zeros_like(rows.token_ids, dtype=torch.bool)
    is_learnt[0, len(ASKED) - 1] = True
    positions = flat_positions(is_learnt)
    reading = ahead.read_rows(rows, learnt_positions=positions, pixel_values=seen, x_t=x_t, t=t)
    alone = ahead(torch.tensor([ASKED]), pixel_values=seen).logits[0, -2]
    torch.testing.assert_close(reading.logits[0], alone, atol=2e-5, rtol=0)
    expected = dense_velocity(ahead, x_t, t, PROMPT)
    torch.testing.assert_close(reading.velocity, expected, atol=2e-5, rtol=0)
    others = ahead.read_rows(
        rows, learnt_positions=positions, pixel_values=images(1, seed=9), x_t=x_t, t=t
    )
    torch.testing.assert_close(others.velocity, reading.velocity, atol=0, rtol=0)
    assert (others.logits - reading.logits).abs().max() > 1e-3


# ---- what reaches what ------------------------------------------------------------------------


def influences(model: JanusFlowForConditionalGeneration) -> Tensor:
    """By gradients through one block of attention: does position j reach position i? [t, t]."""
    embeds = model.embed_conversation(torch.tensor([ASKED]), images(1)).detach().requires_grad_()
    numbers = number_images(torch.tensor([ASKED]), model.config)
    logits = model(inputs_embeds=embeds, block_sequence_ids=numbers).logits[0]
    gradients = [
        torch.autograd.grad(line.square().sum(), embeds, retain_graph=True)[0] for line in logits
    ]
    return torch.stack([each[0].abs().sum(-1) > 0 for each in gradients])


@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_later_positions_reach_earlier_ones_of_the_same_image_only_both_ways(attention: str):
    model = tiny_model()
    model.config.image_attention = attention
    reached, length = influences(model), len(ASKED)
    first, last = 1, 1 + PATCHES
    for i in range(length):
        for j in range(length):
            same_image = first <= i <= last and first <= j <= last
            expected = j <= i or (attention == "bidirectional" and same_image)
            assert reached[i, j].item() == expected, (i, j)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["causal", "bidirectional"])
def test_the_last_patch_that_is_drawn_reaches_the_first_only_both_ways(attention: str):
    """At the LLM's output; the encoder's convolutions, which see the whole grid, are left out."""
    model = tiny_model()
    model.config.image_attention = attention
    model.generation_encoder.blocks = torch.nn.ModuleList()
    heard: list[Tensor] = []
    hook = model.generation_decoder_norm.register_forward_pre_hook(
        lambda module, args: heard.append(args[0])
    )
    x_t, prompt = latents(1), padded_prompt([PROMPT], pad_token_id=PAD)
    changed = x_t.clone()
    changed[..., -2:, -2:] += 1.0
    for given in (x_t, changed):
        model.velocity(given, torch.tensor([0.3]), prompt)
    hook.remove()
    moved = (heard[0] - heard[1])[0].abs().amax(-1)
    assert moved[-1] > 1e-3
    assert (moved[:-1] > 1e-6).all() == (attention == "bidirectional")
    assert (moved[:-1] == 0).all() == (attention == "causal")


def test_flex_attention_is_refused_on_a_cpu_by_name():
    """PyTorch 2.13 runs it for some shapes and fails to compile it for others."""
    config = sdpa_config()
    config._attn_implementation = "flex_attention"
    with pytest.raises(ConfigError, match=r"attn_implementation=flex_attention on a cpu.* sdpa"):
        llm_mask(config, torch.zeros(2, 5, 4), None)
