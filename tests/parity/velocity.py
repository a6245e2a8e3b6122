"""Velocity at single times, and whole paths from noise to latent."""

import copy
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from check import EXACT, FLOAT32, Check, Measure, error
from drawing import TIME_SCALE
from reference import Reference
from torch import Tensor, nn

from janusflow.flow import VelocityQuery, combine, guide, run_sampler, solve, time_grid
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import PrefixCache, Prompt, with_unconditional

RELEASE_STEPS = 30
"""Times in the set are those of a 30-step path: "t333" is step 10 of 30."""


class Drawing:
    """The set's prompt, batched as the release does: conditional rows, then unconditional ones."""

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self.wanted = reference.tensors("velocity")
        self.ids = self.wanted["prompt_ids"][None]

    @property
    def model(self) -> JanusFlowForConditionalGeneration:
        return self.reference.small

    def prompt(self, num_images: int) -> Prompt:
        # The time token takes the place of the begin-of-image token, the last one.
        ids = self.ids[:, :-1].expand(num_images, -1)
        one = Prompt(
            token_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=torch.arange(ids.shape[1]).expand_as(ids),
        )
        return with_unconditional(one)

    @torch.no_grad()
    def velocity(self, name: str, *, is_cached: bool, prompt: Prompt | None = None) -> Tensor:
        """At a time named like t333, for conditional and unconditional rows."""
        latents = self.wanted["z_8"]
        prompt = prompt or self.prompt(len(latents))
        read = self.model.encode_prompt(prompt) if is_cached else prompt
        both = torch.cat([latents, latents])
        return self.model.velocity(both, torch.full((len(both),), time_named(name)), read)

    @torch.no_grad()
    def path(
        self, num_steps: int, scale: float, size: int, *, is_cached: bool, in_bfloat16: bool = False
    ) -> list[Tensor]:
        """The latent after every step."""
        noise, model = self.wanted[f"z_{size}"], self.model
        if in_bfloat16:
            model = copy.deepcopy(model).bfloat16()
        prompt = self.prompt(len(noise))
        read: Prompt | PrefixCache = model.encode_prompt(prompt) if is_cached else prompt
        starts: list[Tensor] = []
        sampler = solve(
            noise,
            times=time_grid(num_steps),
            state_dtype=torch.bfloat16 if in_bfloat16 else torch.float32,
            on_step=lambda step: starts.append(step.x_t),
        )

        def velocity(query: VelocityQuery) -> Tensor:
            # Both branches always: the reference has paths of weight 1 too.
            x_t = torch.cat([query.x_t, query.x_t])
            both = model.velocity(x_t, torch.full((len(x_t),), query.t), read)
            return both[: len(query.x_t)] if len(query.branches) == 1 else both

        end = run_sampler(guide(sampler, lambda t: scale), velocity)
        return [*starts[1:], end]


def time_named(name: str) -> float:
    """The step of a 30-step path whose 1000 t rounds to the number in the name."""
    return round(int(name.removeprefix("t")) / TIME_SCALE * RELEASE_STEPS) / RELEASE_STEPS


def velocity_checks(reference: Reference) -> list[Check]:
    drawing = Drawing(reference)
    wanted = drawing.wanted

    @cache
    def velocity(name: str, is_cached: bool) -> Tensor:
        return drawing.velocity(name, is_cached=is_cached)

    def guided(name: str, scale: float, is_cached: bool) -> Tensor:
        both = velocity(name, is_cached)
        return combine(both, scale=scale)

    checks = []
    for key in sorted(wanted):
        match = re.fullmatch(r"v_(t\d+)(?:_cfg(\d+))?_8", key)
        if match is None:
            continue
        name, scale = match.group(1), match.group(2)
        for is_cached in (False, True):

            def measure(
                name: str = name,
                scale: str | None = scale,
                is_cached: bool = is_cached,
                key: str = key,
            ) -> float:
                plain = velocity(name, is_cached)
                got = plain if scale is None else guided(name, float(scale), is_cached)
                return error(got, wanted[key])

            checks.append(_check(_with_cache(key, is_cached), measure))
    return checks + _inside_checks(drawing) + _sensitivity_checks(drawing, velocity)


def _inside_checks(drawing: Drawing) -> list[Check]:
    """What enters and leaves the LLM at one time, and what the decoder sees."""
    wanted = drawing.wanted

    @cache
    def seen() -> dict[str, Tensor]:
        return _inside(drawing, "t333")

    rows = {
        "t333_llm_emb_rows0_2_every8": lambda: seen()["llm_in"][::2, :, ::8],
        "t333_llm_hidden_rows0_2_every8": lambda: seen()["llm_out"][::2, :, ::8],
        "t333_dec_in_rows0_2": lambda: seen()["decoder_in"][::2],
        "attention_mask_8": lambda: seen()["mask"],
    }

    def compare(key: str) -> float:
        got, expected = rows[key](), wanted[key]
        if key == "t333_llm_emb_rows0_2_every8":
            # Under the mask the release has pads where we keep the prompt: nothing reads them.
            visible = wanted["attention_mask_8"][::2, :, None].bool()
            got, expected = got.where(visible, 0.0), expected.where(visible, 0.0)
        if key == "t333_llm_hidden_rows0_2_every8":
            visible = wanted["attention_mask_8"][::2, :, None].bool()
            got, expected = got.where(visible, 0.0), expected.where(visible, 0.0)
        return error(got, expected)

    return [_check(key, lambda key=key: compare(key)) for key in rows]


def _inside(drawing: Drawing, name: str) -> dict[str, Tensor]:
    seen: dict[str, Tensor] = {}

    def around_llm(module: nn.Module, args: tuple, kwargs: dict[str, Any], output: Any) -> None:
        seen.update(
            llm_in=kwargs["inputs_embeds"],
            # Of the last position, which attends to all that is no padding.
            mask=kwargs["attention_mask"][:, 0, -1].long(),
            llm_out=output.last_hidden_state,
        )

    def before_decoder(module: nn.Module, args: tuple) -> None:
        seen["decoder_in"] = args[0]

    hooks = [
        drawing.model.llm.base_model.register_forward_hook(around_llm, with_kwargs=True),
        drawing.model.generation_decoder.register_forward_pre_hook(before_decoder),
    ]
    try:
        drawing.velocity(name, is_cached=False)
    finally:
        for hook in hooks:
            hook.remove()
    return seen


def _sensitivity_checks(drawing: Drawing, velocity: Callable[[str, bool], Tensor]) -> list[Check]:
    """By how much a wrong unconditional branch would move the velocity: as much as recorded.

    These rows fail if the mask or the positions of that branch had no effect here.
    """
    recorded = drawing.reference.meta["files"]["velocity"]["sensitivity"]
    num_images = len(drawing.wanted["z_8"])

    def halves() -> tuple[Tensor, Tensor]:
        conditional, free = velocity("t333", False).chunk(2)
        return conditional, free

    def padded(**changes: Tensor) -> Tensor:
        """The unconditional rows with pads for text, as the release feeds them."""
        prompt = drawing.prompt(num_images)
        ids = drawing.wanted["tokens_8"][:, :-1]
        mask, positions = prompt.attention_mask, prompt.position_ids
        changed = Prompt(
            token_ids=ids,
            attention_mask=changes.get("mask", mask),
            position_ids=changes.get("positions", positions),
        )
        return drawing.velocity("t333", is_cached=False, prompt=changed).chunk(2)[1]

    def without_mask() -> Tensor:
        return padded(mask=torch.ones_like(drawing.prompt(num_images).attention_mask))

    def with_mask_aware_positions() -> Tensor:
        mask = drawing.prompt(num_images).attention_mask
        return padded(positions=(mask.cumsum(-1) - 1).clamp(min=0))

    measures = {
        "uncond_without_mask_max_abs": lambda: halves()[1] - without_mask(),
        "uncond_with_mask_aware_positions_max_abs": lambda: (
            halves()[1] - with_mask_aware_positions()
        ),
        "cond_vs_uncond_max_abs": lambda: halves()[0] - halves()[1],
    }
    return [
        _check(
            f"sensitivity: {key}",
            lambda key=key, measure=measure: abs(float(measure().abs().max()) - recorded[key]),
        )
        for key, measure in measures.items()
    ]


def path_checks(reference: Reference) -> list[Check]:
    drawing = Drawing(reference)
    wanted = drawing.wanted

    @cache
    def path(num_steps: int, scale: float, size: int, is_cached: bool) -> list[Tensor]:
        return drawing.path(num_steps, scale, size, is_cached=is_cached)

    checks = []
    for key in sorted(wanted):
        match = re.fullmatch(r"euler_steps(\d+)_cfg(\d+)_(\d+)(_trajectory)?", key)
        if match is None:
            continue
        num_steps, scale, size = int(match[1]), float(match[2]), int(match[3])
        for is_cached in (False, True):

            def measure(
                key: str = key,
                path_of: tuple = (num_steps, scale, size, is_cached),
                is_whole: bool = bool(match[4]),
            ) -> float:
                steps = path(*path_of)
                return error(torch.stack(steps) if is_whole else steps[-1], wanted[key])

            checks.append(
                _check(_with_cache(key, is_cached), measure, is_slow=num_steps > 4 or size > 8)
            )
    return checks + _bfloat16_checks(drawing)


def _bfloat16_checks(drawing: Drawing) -> list[Check]:
    """The release's own precision: no further from its path than that is from its float32 path."""
    recorded = drawing.reference.meta["files"]["velocity"]["bf16_vs_fp32"]
    checks = []
    for key in sorted(drawing.wanted):
        match = re.fullmatch(r"bf16_euler_(steps(\d+)_cfg(\d+))_(\d+)", key)
        if match is None:
            continue

        def measure(key: str = key, match: re.Match = match) -> float:
            steps = drawing.path(
                int(match[2]), float(match[3]), int(match[4]), is_cached=True, in_bfloat16=True
            )
            return error(steps[-1], drawing.wanted[key])

        tolerance = recorded[f"{match[1]}_max_abs"]
        checks.append(_check(key, measure, tolerance=tolerance, is_slow=True))
    times = torch.tensor(recorded["t_in_bf16_for_30_steps"])
    return [
        *checks,
        _check("bf16: 1000 t", lambda: error(_bfloat16_times(len(times)), times), EXACT),
    ]


def _bfloat16_times(num_steps: int) -> Tensor:
    seen: list[float] = []

    def velocity(query: VelocityQuery) -> Tensor:
        seen.append(round(float(TIME_SCALE * query.t), 3))
        return torch.zeros_like(query.x_t)

    times = time_grid(num_steps)
    run_sampler(solve(torch.zeros(1, 1), times=times, state_dtype=torch.bfloat16), velocity)
    return torch.tensor(seen)


def _with_cache(key: str, is_cached: bool) -> str:
    return f"{key}, prompt cache {'on' if is_cached else 'off'}"


def _check(
    quantity: str,
    measure: Measure,
    tolerance: float = FLOAT32,
    is_slow: bool = False,
) -> Check:
    return Check(
        group="velocity",
        quantity=quantity,
        tolerance=tolerance,
        measure=measure,
        is_slow=is_slow,
    )
