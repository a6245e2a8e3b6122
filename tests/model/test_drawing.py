"""Claims about the generation half: velocity, prompt cache, the unconditional branch, gradients."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import torch
from tiny_model import padded_prompt, qwen3_model, tiny_config, tiny_model
from torch import Tensor, nn

from janusflow.config.errors import ConfigError
from janusflow.costs.meter import counting
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import Prompt, unconditional, with_unconditional

BOS, PAD = 0, 2
ROWS = [[BOS, 40, 41, 42, 43], [BOS, 44, 45]]


@pytest.fixture(scope="module", params=["llama", "qwen3"])
def any_model(
    request: pytest.FixtureRequest, model: JanusFlowForConditionalGeneration
) -> JanusFlowForConditionalGeneration:
    return model if request.param == "llama" else qwen3_model()


def prompt(rows: list[list[int]] = ROWS) -> Prompt:
    return padded_prompt(rows, pad_token_id=PAD)


def latents(num: int, seed: int = 0, size: tuple[int, int] = (8, 8)) -> Tensor:
    return torch.randn(num, 4, *size, generator=torch.Generator().manual_seed(seed))


def times(num: int) -> Tensor:
    return torch.linspace(0.1, 0.8, num)


@contextmanager
def counted_positions(model: JanusFlowForConditionalGeneration) -> Iterator[list[int]]:
    """Positions fed to the LLM, one number a call, over all rows."""
    counts: list[int] = []

    def count(module: nn.Module, args: tuple, kwargs: dict) -> None:
        given = kwargs.get("inputs_embeds", kwargs.get("input_ids"))
        counts.append(given.shape[0] * given.shape[1])

    hook = model.llm.base_model.register_forward_pre_hook(count, with_kwargs=True)
    try:
        yield counts
    finally:
        hook.remove()


# ---- the prompt cache -----------------------------------------------------------------------


@torch.no_grad()
def test_the_cache_stands_for_the_prompt(any_model: JanusFlowForConditionalGeneration):
    """Both branches, left-padded rows, several steps from one cache."""
    both = with_unconditional(prompt())
    cache = any_model.encode_prompt(both)
    for step in range(3):
        x_t = latents(4, seed=step)
        uncached = any_model.velocity(x_t, times(4), both)
        cached = any_model.velocity(x_t, times(4), cache)
        torch.testing.assert_close(cached, uncached, atol=1e-5, rtol=1e-5)
        assert cache.attention_mask.shape == both.attention_mask.shape


@torch.no_grad()
def test_a_step_leaves_the_cache_as_it_was(any_model: JanusFlowForConditionalGeneration):
    cache = any_model.encode_prompt(prompt())
    before = [(layer.keys, layer.values) for layer in cache.cache.layers]
    any_model.velocity(latents(2), times(2), cache)
    for (keys, values), layer in zip(before, cache.cache.layers, strict=True):
        assert layer.keys is keys
        assert layer.values is values


@torch.no_grad()
def test_what_a_step_holds_does_not_grow_with_the_blocks():
    """An image's keys and values are in memory for one block at a time."""

    def held(num_blocks: int) -> float:
        config = tiny_config()
        config.llm_config.num_hidden_layers = num_blocks
        deep = JanusFlowForConditionalGeneration(config).eval()
        cache = deep.encode_prompt(prompt())
        with counting() as meter:
            deep.velocity(latents(2), times(2), cache)
        return meter.peak_bytes

    assert held(8) == held(2)


@torch.no_grad()
def test_a_prompt_is_read_once_however_many_steps(any_model: JanusFlowForConditionalGeneration):
    """Counted at the LLM: the prompt once, then only the time token and the image's tokens."""
    num_steps, rows = 4, len(ROWS)
    per_step = rows * (1 + any_model.config.generation.num_tokens)
    with counted_positions(any_model) as counts:
        cache = any_model.encode_prompt(prompt())
        for step in range(num_steps):
            any_model.velocity(latents(rows, seed=step), times(rows), cache)
    assert counts == [rows * len(ROWS[0]), *[per_step] * num_steps]
    with counted_positions(any_model) as counts:
        any_model.velocity(latents(rows), times(rows), prompt())
    assert counts == [rows * len(ROWS[0]) + per_step]


# ---- the unconditional branch ---------------------------------------------------------------


@torch.no_grad()
def test_the_unconditional_branch_reads_nothing_but_the_first_token(
    any_model: JanusFlowForConditionalGeneration,
):
    x_t, t = latents(1), times(1)
    velocities = [
        any_model.velocity(x_t, t, unconditional(prompt([row])))
        for row in ([BOS, 40, 41], [BOS, 70, 71], [60, 40, 41])
    ]
    torch.testing.assert_close(velocities[0], velocities[1], atol=1e-6, rtol=1e-6)
    assert (velocities[0] - velocities[2]).abs().max() > 1e-4


@torch.no_grad()
def test_the_unconditional_branch_keeps_the_positions_of_the_hidden_words(
    any_model: JanusFlowForConditionalGeneration,
):
    """A longer hidden prompt moves the image's tokens on: BOS is further away (a quirk kept)."""
    x_t, t = latents(1), times(1)
    short = any_model.velocity(x_t, t, unconditional(prompt([[BOS, 40]])))
    long = any_model.velocity(x_t, t, unconditional(prompt([[BOS, *range(40, 80)]])))
    assert (short - long).abs().max() > 1e-5


@torch.no_grad()
def test_words_change_the_velocity(any_model: JanusFlowForConditionalGeneration):
    x_t, t = latents(1), times(1)
    one = any_model.velocity(x_t, t, prompt([[BOS, 40, 41]]))
    other = any_model.velocity(x_t, t, prompt([[BOS, 40, 99]]))
    assert (one - other).abs().max() > 1e-4


# ---- shapes and batches ---------------------------------------------------------------------


@torch.no_grad()
def test_a_batch_draws_what_its_rows_draw_alone(any_model: JanusFlowForConditionalGeneration):
    together = any_model.velocity(latents(2), times(2), prompt())
    for index, row in enumerate(ROWS):
        alone = any_model.velocity(
            latents(2)[index : index + 1], times(2)[index : index + 1], prompt([row])
        )
        torch.testing.assert_close(together[index : index + 1], alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "generation",
    [
        {"latent_size": 8, "patch_size": 1, "width": 8},
        {"latent_size": 16, "patch_size": 4, "width": 8, "num_encoder_blocks": 0},
        {"latent_size": 12, "patch_size": 2, "width": 8, "latent_channels": 16, "kernel_size": 5},
    ],
)
@torch.no_grad()
def test_any_shape_the_configuration_allows_works(generation: dict[str, int]):
    config = tiny_config()
    config.generation = replace(config.generation, **generation)
    model = JanusFlowForConditionalGeneration(config).eval()
    flow = config.generation
    x_t = torch.randn(2, flow.latent_channels, flow.latent_size, flow.latent_size)
    with counted_positions(model) as counts:
        assert model.velocity(x_t, times(2), prompt()).shape == x_t.shape
    assert counts == [2 * (len(ROWS[0]) + 1 + flow.num_tokens)]


@torch.no_grad()
def test_another_grid_than_the_configured_one_works_too(
    model: JanusFlowForConditionalGeneration,
):
    x_t = latents(2, size=(4, 12))
    uncached = model.velocity(x_t, times(2), prompt())
    assert uncached.shape == x_t.shape
    cached = model.velocity(x_t, times(2), model.encode_prompt(prompt()))
    torch.testing.assert_close(cached, uncached, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_image_tokens_are_read_causally(model: JanusFlowForConditionalGeneration):
    """A changed last token leaves the LLM's output at the earlier ones as it was."""
    seen: list[Tensor] = []
    hook = model.generation_decoder_norm.register_forward_pre_hook(
        lambda module, args: seen.append(args[0])
    )
    x_t = latents(1)
    changed = x_t.clone()
    changed[..., -2:, -2:] += 1.0
    # The encoder's blocks look at the whole grid; only the patches themselves are compared here.
    blocks = model.generation_encoder.blocks
    model.generation_encoder.blocks = nn.ModuleList()
    for given in (x_t, changed):
        model.velocity(given, times(1), prompt([ROWS[0]]))
    model.generation_encoder.blocks = blocks
    hook.remove()
    torch.testing.assert_close(seen[0][:, :-1], seen[1][:, :-1])
    assert (seen[0][:, -1] - seen[1][:, -1]).abs().max() > 1e-3


# ---- training -------------------------------------------------------------------------------


def with_repa(block: int = 1) -> JanusFlowConfig:
    config = tiny_config()
    config.repa = {"block": block, "hidden_size": 16}
    return config


def test_a_head_on_a_block_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match=r"repa.block=3 but the LLM has 2"):
        JanusFlowForConditionalGeneration(with_repa(block=3))


def test_a_fresh_block_starts_without_modulation():
    """As trained from scratch: time speaks through its token first."""
    model = JanusFlowForConditionalGeneration(tiny_config())
    for block in (*model.generation_encoder.blocks, *model.generation_decoder.blocks):
        assert not block.modulation.weight.any()
        assert not block.modulation.bias.any()


@pytest.mark.parametrize(("width", "patch_size"), [(16, 2), (96, 2), (96, 1)])
def test_a_fresh_skip_enters_the_decoder_as_large_as_the_llms_features(width: int, patch_size: int):
    """Those are normalised to a root mean square of 1; 0.02 for every weight gave 0.09."""
    config = tiny_config()
    config.generation = replace(config.generation, width=width, patch_size=patch_size)
    torch.manual_seed(0)
    model = JanusFlowForConditionalGeneration(config)
    with torch.no_grad():
        skip, _ = model.generation_encoder(torch.randn(4, 4, 8, 8), torch.full((4,), 0.5))
    assert 0.7 < skip.square().mean().sqrt() < 1.5


def test_gradients_do_not_flow_into_a_cache():
    """A cache is for sampling; training reads prompts with `Prompt`."""
    model = tiny_model()
    cache = model.encode_prompt(prompt())
    assert not any(layer.keys.requires_grad for layer in cache.cache.layers)
