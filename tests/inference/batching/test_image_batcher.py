"""Images that share forwards: each as if alone, work counted, room given in order."""

from concurrent.futures import CancelledError
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from same_images import difference, levels
from tiny_model import tiny_janusflow

import janusflow
from janusflow.config.errors import PromptError
from janusflow.inference.batching import image_batcher
from janusflow.inference.batching.requests import Handle
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.drawing.init_image import prepare_init_image
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow

LATENT_TOKENS = 1 + 16
SHORT, LONG = (
    "a red circle",
    "초록색 삼각형 위에 빨간 사각형 and three orange diamonds on a pale background",
)


def settings(**chosen: Any) -> DrawingSettings:
    return DrawingSettings(**{"steps": 4, "guidance": 1.0} | chosen)


class Rows:
    """Rows of every shared forward."""

    def __init__(self, jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> None:
        self.counts: list[int] = []
        velocity = jf.model.velocity

        def counted(x_t: torch.Tensor, *rest: Any) -> torch.Tensor:
            self.counts.append(len(x_t))
            return velocity(x_t, *rest)

        monkeypatch.setattr(jf.model, "velocity", counted)


@pytest.fixture
def rows(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch) -> Rows:
    return Rows(jf, monkeypatch)


def is_as_alone(
    jf: JanusFlow,
    image: Image.Image,
    *,
    seed: int,
    prompt: str = SHORT,
    tolerance: int = 1,
    **chosen: Any,
) -> bool:
    """Up to some levels: sums of another batch size may round the other way."""
    (alone,) = jf.generate(prompt, seed=seed, **{"steps": 4, "guidance": 1.0} | chosen)
    return difference(alone, image) <= tolerance


REQUESTS: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (SHORT, {"num_images": 2, "seed": 3}, {"steps": 6, "guidance": 2.0}),
    (LONG, {"seed": 5, "negative_prompt": "blue"}, {"steps": 4, "guidance": 4.0}),
    (["노란 별", LONG], {"seed": 9}, {"steps": 3, "guidance": 1.0, "solver": "heun"}),
    ("a blue star", {"seed": 1}, {"steps": 2, "guidance": 3.0, "solver": "rk4", "shift": 2.0}),
]


def submitted_at_different_steps(
    scheduler: StepScheduler, on_step: Any = None
) -> list[Handle[list[Image.Image]]]:
    """Every request one step after the one before."""
    handles = []
    for prompt, call, chosen in REQUESTS:
        handles.append(
            scheduler.submit_drawing(
                prompt, **call, settings=DrawingSettings(**chosen), on_step=on_step
            )
        )
        scheduler.step()
    scheduler.run_until_idle()
    return handles


@pytest.mark.slow
def test_minis_images_are_those_of_generate():
    """Guidance, steps, solvers, grids, languages, lengths and image counts mixed.

    Latents are equal to 1e-5, a thousandth of a level, so that hardly a value can round the other
    way, and none by more than a level.
    """
    jf = janusflow.load("mini")
    handles = submitted_at_different_steps(StepScheduler(jf))
    for (prompt, call, chosen), handle in zip(REQUESTS, handles, strict=True):
        alone, together = jf.generate(prompt, **call, **chosen), handle.result(0.0)
        for ours, theirs in zip(together, alone, strict=True):
            assert levels(ours, theirs).max() <= 1
            assert np.count_nonzero(levels(ours, theirs)) <= ours.width
        assert [image.info for image in together] == [image.info for image in alone]


def test_latents_on_the_whole_path_are_those_of_generate_to_1e_5(jf: JanusFlow):
    together: dict[str, torch.Tensor] = {}
    alone: dict[str, torch.Tensor] = {}

    def keep(states: dict[str, torch.Tensor]) -> Any:
        def listen(step: DrawingStep) -> None:
            for i, x_t in enumerate(step.info.predicted_data):
                states[f"{step.steps} {step.first_image + i} {step.index}"] = x_t

        return listen

    submitted_at_different_steps(StepScheduler(jf), keep(together))
    for prompt, call, chosen in REQUESTS:
        jf.generate(prompt, **call, **chosen, on_step=keep(alone))
    assert together.keys() == alone.keys()
    assert len(alone) == 2 * 6 + 4 + 2 * 3 + 2
    for step, x_t in alone.items():
        torch.testing.assert_close(together[step], x_t, atol=1e-5, rtol=0)


@pytest.mark.slow
@pytest.mark.parametrize("chosen", [{"solver": "dopri5"}, {"numerics": "parity"}])
def test_solvers_that_magnify_rounding_stay_within_a_few_levels(
    jf: JanusFlow, chosen: dict[str, Any]
):
    scheduler = StepScheduler(jf)
    handles = [
        scheduler.submit_drawing(prompt, seed=7, settings=settings(guidance=2.0, **chosen))
        for prompt in (SHORT, LONG)
    ]
    scheduler.run_until_idle()
    for prompt, handle in zip((SHORT, LONG), handles, strict=True):
        (image,) = handle.result(0.0)
        assert is_as_alone(jf, image, prompt=prompt, seed=7, tolerance=4, guidance=2.0, **chosen)


def test_an_image_may_start_from_another_one(jf: JanusFlow):
    start, mask = Image.new("RGB", (64, 64), "red"), Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    init_image = prepare_init_image(jf, start, 0.7, mask)
    scheduler = StepScheduler(jf)
    other = scheduler.submit_drawing(LONG, seed=1, settings=settings())
    handle = scheduler.submit_drawing(SHORT, seed=2, settings=settings(), init_image=init_image)
    scheduler.run_until_idle()
    (drawn,) = handle.result(0.0)
    assert is_as_alone(jf, drawn, seed=2, init_image=start, strength=0.7, mask=mask)
    assert is_as_alone(jf, other.result(0.0)[0], prompt=LONG, seed=1)


# ---- work -------------------------------------------------------------------------------------


def test_a_request_ends_its_own_number_of_steps_after_it_was_admitted(jf: JanusFlow, rows: Rows):
    scheduler = StepScheduler(jf)
    first = scheduler.submit_drawing(SHORT, seed=1, settings=settings(steps=6))
    scheduler.step()
    scheduler.step()
    second = scheduler.submit_drawing(LONG, seed=2, settings=settings(steps=3, guidance=2.0))
    ends: dict[int, int] = {}
    while scheduler.step():
        for number, handle in enumerate((first, second)):
            if handle.done():
                ends.setdefault(number, len(rows.counts))
    # Admitted with the third forward and done with the fifth; guidance takes a second row.
    assert rows.counts == [1, 1, 3, 3, 3, 1]
    assert ends[1] == 5


def test_an_image_takes_its_second_row_only_while_it_is_guided(
    jf: JanusFlow, rows: Rows, monkeypatch: pytest.MonkeyPatch
):
    joins: list[int] = []
    join = image_batcher.join
    monkeypatch.setattr(image_batcher, "join", lambda read: joins.append(len(read)) or join(read))
    scheduler = StepScheduler(jf)
    for guidance in ("3@0.25-0.75", 2.0, 1.0):
        scheduler.submit_drawing(SHORT, seed=1, settings=settings(guidance=guidance))
    scheduler.run_until_idle()
    assert rows.counts == [4, 5, 5, 4]
    assert joins == [3, 3, 3]  # where its rows change


def test_stages_of_every_solver_are_shared_like_steps(jf: JanusFlow, rows: Rows):
    scheduler = StepScheduler(jf)
    for solver in ("euler", "heun", "rk4"):
        scheduler.submit_drawing(SHORT, seed=1, settings=settings(steps=2, solver=solver))
    scheduler.run_until_idle()
    assert rows.counts == [3, 3, 2, 2, 1, 1, 1, 1]


def test_every_prompt_is_read_once_however_many_images_and_steps(jf: JanusFlow, llm_count: Any):
    scheduler = StepScheduler(jf, max_images=2)
    scheduler.submit_drawing([SHORT, LONG], num_images=2, seed=1, settings=settings(steps=3))
    scheduler.run_until_idle()
    longest = jf.processor.prompts([LONG]).input_ids.shape[1]
    assert llm_count.positions == 2 * longest + 4 * 3 * LATENT_TOKENS
    assert llm_count.calls == 1 + 2 * 3


def test_cancelled_images_leave_at_once_and_the_others_do_not_notice(jf: JanusFlow, rows: Rows):
    scheduler = StepScheduler(jf)
    stays = scheduler.submit_drawing(SHORT, seed=1, settings=settings(steps=5))
    leaves = scheduler.submit_drawing(LONG, seed=2, num_images=3, settings=settings(steps=5))
    scheduler.step()
    scheduler.step()
    assert leaves.cancel()
    scheduler.run_until_idle()
    assert rows.counts == [4, 4, 1, 1, 1]
    with pytest.raises(CancelledError):
        leaves.result(0.0)
    assert is_as_alone(jf, stays.result(0.0)[0], seed=1, steps=5)
    assert not stays.cancel()


def test_a_request_cancelled_while_it_waits_is_never_begun(jf: JanusFlow, llm_count: Any):
    scheduler = StepScheduler(jf)
    scheduler.submit_drawing(SHORT, settings=settings()).cancel()
    scheduler.run_until_idle()
    assert llm_count.calls == 0
    assert scheduler.num_waiting == 0


# ---- room -------------------------------------------------------------------------------------


def test_small_requests_do_not_starve_a_large_one(jf: JanusFlow, rows: Rows):
    """It gets all room from its turn on, and passes on what it has no more use for."""
    scheduler = StepScheduler(jf, max_images=2)
    first = scheduler.submit_drawing(SHORT, seed=0, settings=settings(steps=2))
    large = scheduler.submit_drawing(LONG, seed=1, num_images=3, settings=settings(steps=2))
    small = [scheduler.submit_drawing(SHORT, seed=i, settings=settings()) for i in range(3)]
    while not large.done():
        scheduler.step()
    assert first.done()
    assert len(rows.counts) == 4  # its last image begins when its first two are done
    assert not any(handle.done() for handle in small)
    scheduler.run_until_idle()
    # Images of 2 steps (four of them) and of 4 steps (three) in two places, never more.
    assert max(rows.counts) == 2
    assert sum(rows.counts) == 4 * 2 + 3 * 4


def test_progress_rises_from_0_to_1_over_all_images_of_a_request(jf: JanusFlow):
    scheduler = StepScheduler(jf, max_images=1)
    handle = scheduler.submit_drawing(SHORT, num_images=2, settings=settings(steps=2))
    seen = [handle.progress]
    while scheduler.step():
        seen.append(handle.progress)
    seen.append(handle.progress)
    # Steps start at times 0 and 0.5; the first image is done after two.
    assert seen == [0.0, 0.0, 0.0, 0.5, 1.0]


# ---- what goes wrong --------------------------------------------------------------------------


def test_a_request_that_fails_fails_alone(jf: JanusFlow, rows: Rows):
    def break_off(step: DrawingStep) -> None:
        if step.index == 1:
            raise ConnectionError("nobody listens any more")

    scheduler = StepScheduler(jf)
    good = scheduler.submit_drawing(SHORT, seed=1, settings=settings())
    wrong = scheduler.submit_drawing([SHORT, "<image_placeholder>"], settings=settings())
    broken = scheduler.submit_drawing(SHORT, seed=2, settings=settings(), on_step=break_off)
    scheduler.run_until_idle()
    with pytest.raises(PromptError, match="image_placeholder"):
        wrong.result(0.0)
    with pytest.raises(ConnectionError):
        broken.result(0.0)
    assert rows.counts == [2, 2, 1, 1]
    assert is_as_alone(jf, good.result(0.0)[0], seed=1)


def test_an_error_of_the_shared_forward_is_everybodys_in_flight_and_nobody_elses(
    monkeypatch: pytest.MonkeyPatch,
):
    jf = tiny_janusflow()
    scheduler = StepScheduler(jf, max_images=2)
    flying = scheduler.submit_drawing(SHORT, num_images=2, settings=settings())
    waiting = scheduler.submit_drawing(SHORT, seed=1, settings=settings())
    with monkeypatch.context() as patch:

        def out_of_memory(*_: Any) -> None:
            raise torch.OutOfMemoryError("out of memory")

        patch.setattr(jf.model, "velocity", out_of_memory)
        scheduler.step()
    scheduler.run_until_idle()
    with pytest.raises(torch.OutOfMemoryError):
        flying.result(0.0)
    assert is_as_alone(jf, waiting.result(0.0)[0], seed=1)
