"""The `jf` object on a tiny random model: counting, seeds, batches, originals, conversations."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageChops
from same_images import difference
from tiny_model import tiny_janusflow

from janusflow.config.errors import ConfigError, JanusFlowError, PromptError
from janusflow.inference.answering.chat import question_message
from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.pipeline import JanusFlow

PROMPT = "a red circle"
IMAGE_TOKENS = 16
RED, BLUE = Image.new("RGB", (40, 40), "red"), Image.new("RGB", (50, 30), "blue")


def prompt_len(jf: JanusFlow, prompt: str) -> int:
    return jf.processor.prompts([prompt]).input_ids.shape[1]


# ---- drawing ----------------------------------------------------------------------------------


def test_one_prompt_gives_one_image_of_the_models_size(jf: JanusFlow):
    (image,) = jf.generate(PROMPT, steps=1, seed=0)
    assert image.size == (jf.image_size, jf.image_size) == (64, 64)
    assert image.mode == "RGB"


def test_the_prompt_is_read_once_and_the_vae_decodes_once(
    jf: JanusFlow, llm_count: Any, monkeypatch: pytest.MonkeyPatch
):
    decoded: list[int] = []
    decode = jf.vae.decode
    monkeypatch.setattr(jf.vae, "decode", lambda z: decoded.append(len(z)) or decode(z))
    jf.generate(PROMPT, steps=4, num_images=3, seed=0)
    rows, steps = 2 * 3, 4
    assert llm_count.positions == 2 * prompt_len(jf, PROMPT) + steps * rows * (1 + IMAGE_TOKENS)
    assert decoded == [3]


def test_prompts_are_read_once_even_if_drawn_in_several_batches(jf: JanusFlow, llm_count: Any):
    jf.generate(PROMPT, steps=2, num_images=3, seed=0, batch_size=1, guidance=1.0)
    assert llm_count.positions == prompt_len(jf, PROMPT) + 3 * 2 * (1 + IMAGE_TOKENS)


def test_images_come_prompt_by_prompt_each_with_its_own_seed(jf: JanusFlow):
    images = jf.generate(["one", "또 하나"], steps=1, num_images=2, seed=10)
    records = [record_of(image) for image in images]
    assert [(r.prompt, r.seed) for r in records if r] == [
        ("one", 10),
        ("one", 11),
        ("또 하나", 12),
        ("또 하나", 13),
    ]


def test_an_image_can_be_drawn_again_from_its_record_alone(jf: JanusFlow):
    drawn = jf.generate(["a star", "두 개의 원"], steps=3, num_images=2, guidance=3.0)
    record = record_of(drawn[3])
    assert record is not None
    again = jf.generate(
        record.prompt, steps=record.steps, guidance=record.guidance, seed=record.seed
    )
    # One level: sums of another batch size may round the other way.
    assert difference(drawn[3], again[0]) <= 1
    assert difference(drawn[2], again[0]) > 10


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["euler", "heun", "dopri5"])
def test_the_batch_size_changes_no_image(jf: JanusFlow, solver: str):
    settings: dict[str, Any] = {"steps": 2, "seed": 3, "solver": solver}
    prompts = ["one", "더 긴 두 번째 prompt"]
    together = jf.generate(prompts, **settings)
    alone = jf.generate(prompts, batch_size=1, **settings)
    assert max(map(difference, together, alone)) <= 1


def test_without_a_seed_images_differ_and_remember_their_seeds(jf: JanusFlow):
    first, second = (jf.generate(PROMPT, steps=1)[0] for _ in range(2))
    assert difference(first, second) > 10
    assert record_of(first) != record_of(second)


def test_a_negative_prompt_changes_the_image_only_with_guidance(jf: JanusFlow):
    def drawn(**chosen: Any) -> Image.Image:
        return jf.generate(PROMPT, steps=2, seed=0, **chosen)[0]

    assert difference(drawn(guidance=4.0), drawn(guidance=4.0, negative_prompt="blue")) > 0
    assert difference(drawn(guidance=1.0), drawn(guidance=1.0, negative_prompt="blue")) == 0


def test_on_step_sees_every_step_and_previews_tend_to_the_image(jf: JanusFlow):
    seen: list[DrawingStep] = []
    images = jf.generate(PROMPT, steps=4, num_images=3, seed=0, on_step=seen.append, batch_size=2)
    assert [(step.index, step.first_image) for step in seen] == [
        *[(i, 0) for i in range(4)],
        *[(i, 2) for i in range(4)],
    ]
    assert [step.t for step in seen[:4]] == pytest.approx([0.0, 0.25, 0.5, 0.75])
    assert {step.steps for step in seen} == {4}
    # Euler's last step is the straight line that the preview follows.
    assert [difference(a, b) for a, b in zip(seen[3].preview, images[:2], strict=True)] == [0, 0]
    assert difference(seen[0].state[0], images[0]) > 10


@pytest.mark.parametrize(
    ("best_of", "finished_in"),
    [(1, [2, 2, 1]), (2, [1, 1, 1, 1, 1]), (3, [0, 1, 1, 0, 1, 1, 0, 1])],
)
def test_images_are_given_as_soon_as_their_batch_is_drawn(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch, best_of: int, finished_in: list[int]
):
    monkeypatch.setattr(jf, "scorer", lambda image, _: image.getpixel((0, 0))[0])
    batches: list[list[tuple[int, Image.Image]]] = []
    returned = jf.generate(
        ["one", "둘", "three", "넷", "five"],
        steps=1,
        seed=4,
        batch_size=2,
        best_of=best_of,
        on_step=lambda _: batches.append([]),
        on_image=lambda index, image: batches[-1].append((index, image)),
    )
    assert [len(batch) for batch in batches] == finished_in
    assert [pair for batch in batches for pair in batch] == list(enumerate(returned))


def test_what_is_drawn_when_a_call_is_broken_off_was_given(jf: JanusFlow):
    given: dict[int, Image.Image] = {}

    def stop(step: DrawingStep) -> None:
        if step.first_image == 4:
            raise KeyboardInterrupt

    settings: dict[str, Any] = {"steps": 1, "seed": 0, "batch_size": 2}
    with pytest.raises(KeyboardInterrupt):
        jf.generate(PROMPT, num_images=6, **settings, on_step=stop, on_image=given.__setitem__)
    whole = jf.generate(PROMPT, num_images=4, **settings)
    assert given == dict(enumerate(whole))


def test_a_bad_prompt_is_refused_before_the_first_is_drawn(jf: JanusFlow):
    steps: list[DrawingStep] = []
    bad = jf.processor.image_token
    with pytest.raises(PromptError, match="belongs to the model"):
        jf.generate([PROMPT, bad], steps=1, batch_size=1, on_step=steps.append)
    assert steps == []


def test_previews_are_decoded_only_when_looked_at(jf: JanusFlow, monkeypatch: pytest.MonkeyPatch):
    decoded: list[int] = []
    decode = jf.vae.decode
    monkeypatch.setattr(jf.vae, "decode", lambda z: decoded.append(len(z)) or decode(z))

    def watch(step: DrawingStep) -> None:
        if step.index == 1:
            assert step.preview is step.preview

    jf.generate(PROMPT, steps=3, seed=0, on_step=watch)
    assert len(decoded) == 2  # one preview, one image


def test_a_mask_keeps_the_pixels_outside_it(jf: JanusFlow):
    original = Image.effect_noise((64, 64), 80).convert("RGB")
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (16, 16, 48, 48))
    (drawn,) = jf.generate(PROMPT, steps=2, seed=0, init_image=original, mask=mask)
    changed = ImageChops.difference(drawn, original).convert("L").point(lambda v: 255 * (v > 0))
    assert changed.getbbox() == (16, 16, 48, 48)


def test_a_small_strength_stays_close_to_the_original(jf: JanusFlow):
    """Mean distance to what the VAE makes of the original must fall with the strength."""
    noise = np.random.default_rng(0).integers(256, size=(64, 64, 3), dtype=np.uint8)
    original = Image.fromarray(noise)

    def drawn(strength: float) -> np.ndarray:
        (image,) = jf.generate(PROMPT, steps=10, seed=0, init_image=original, strength=strength)
        return np.asarray(image, dtype=float)

    kept = drawn(1e-3)
    distances = [np.abs(drawn(strength) - kept).mean() for strength in (0.01, 0.3, 1.0)]
    assert distances == sorted(distances)
    assert distances[0] < distances[2] / 2


def test_parity_steps_in_bfloat16_and_gives_another_image(jf: JanusFlow):
    accurate = jf.generate(PROMPT, steps=4, seed=0)[0]
    parity = jf.generate(PROMPT, steps=4, seed=0, numerics="parity")[0]
    assert difference(accurate, parity) > 0


@pytest.mark.slow
def test_a_compiled_model_draws_the_same_and_answers_uncompiled(jf: JanusFlow):
    """A backend that runs what it is given counts the graphs."""
    compiled, graphs = tiny_janusflow(), []

    def count(graph: torch.fx.GraphModule, inputs: list[Any]) -> Any:
        graphs.append(graph)
        return graph.forward

    compiled.model.llm.base_model.compile(backend=count)
    settings: dict[str, Any] = {"steps": 3, "seed": 0}
    drawn, expected = (each.generate(PROMPT, **settings)[0] for each in (compiled, jf))
    assert difference(drawn, expected) <= 1
    assert graphs
    num_graphs = len(graphs)
    assert compiled.ask(drawn, "What?", max_new_tokens=6) == jf.ask(
        drawn, "What?", max_new_tokens=6
    )
    assert len(graphs) == num_graphs


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"prompt": []}, PromptError),
        ({"num_images": 0}, PromptError),
        ({"strength": 0.5}, ConfigError),
        ({"mask": RED}, ConfigError),
        ({"init_image": RED, "strength": 0.0}, ConfigError),
        ({"batch_size": 0}, ConfigError),
        ({"seed": -1}, ConfigError),
        ({"seed": 2**64}, ConfigError),
        ({"solver": "magic"}, ConfigError),
    ],
)
def test_calls_that_make_no_sense_are_refused_in_one_line(
    jf: JanusFlow, wrong: dict[str, Any], error: type[JanusFlowError]
):
    with pytest.raises(error) as refusal:
        jf.generate(**{"prompt": PROMPT, "steps": 1, **wrong})
    assert "\n" not in str(refusal.value)


# ---- seeing -----------------------------------------------------------------------------------


def test_ask_is_the_models_own_logits_one_token_at_a_time(jf: JanusFlow):
    """Greedy decoding by hand, every step a full forward without a cache."""
    batch = jf.processor.conversations([[question_message([RED], "What colour?")]])
    token_ids = batch.input_ids
    for _ in range(5):
        logits = jf.model(token_ids, pixel_values=batch.pixel_values).logits
        token_ids = torch.cat([token_ids, logits[:, -1:].argmax(-1)], dim=1)
    expected = jf.processor.decode(token_ids[0, -5:]).strip()
    assert jf.ask(RED, "What colour?", max_new_tokens=5) == expected


def test_several_questions_are_answered_as_if_alone(jf: JanusFlow):
    shown: list[Any] = [RED, [BLUE, RED], None]
    questions = ["What is this?", "둘은 무엇이 다른가요?", "Who are you?"]
    together = jf.ask(shown, questions, max_new_tokens=6)
    alone = [
        jf.ask(image, question, max_new_tokens=6)
        for image, question in zip(shown, questions, strict=True)
    ]
    assert together == alone


def test_one_image_may_serve_several_questions(jf: JanusFlow):
    questions = ["What?", "Where is it?"]
    assert jf.ask(BLUE, questions, max_new_tokens=4) == [
        jf.ask(BLUE, question, max_new_tokens=4) for question in questions
    ]


def test_the_image_reaches_the_answer(jf: JanusFlow):
    answers = {jf.ask(image, "What?", max_new_tokens=8) for image in (RED, BLUE, None)}
    assert len(answers) == 3


def test_pieces_of_a_stream_join_to_the_answer(jf: JanusFlow):
    messages = [
        question_message([RED], "What is this?"),
        {"role": "assistant", "content": "A red square."},
        question_message([BLUE], "And this?"),
    ]
    pieces = list(jf.stream(messages, max_new_tokens=24))
    assert len(pieces) > 1
    assert "".join(pieces).strip() == jf.answer([messages], max_new_tokens=24)[0]


def test_a_seed_makes_drawn_answers_reproducible(jf: JanusFlow):
    chosen: dict[str, Any] = {"max_new_tokens": 12, "temperature": 1.5}
    first = jf.ask(RED, "What?", seed=1, **chosen)
    assert first == jf.ask(RED, "What?", seed=1, **chosen)
    assert first != jf.ask(RED, "What?", seed=2, **chosen)


def test_too_few_images_for_the_questions_are_refused(jf: JanusFlow):
    with pytest.raises(PromptError, match="3 questions but 2 entries"):
        jf.ask([RED, BLUE], ["a", "b", "c"])


@pytest.mark.parametrize("swapped", [RED, [RED, BLUE], b"bytes", None])
def test_an_image_in_the_questions_place_is_refused_in_one_line(jf: JanusFlow, swapped: Any):
    for call in (lambda: jf.ask("What?", swapped), lambda: jf.log_likelihood("a", swapped, "b")):
        with pytest.raises(PromptError, match="the image comes first"):
            call()


def test_paths_in_messages_can_be_refused(jf: JanusFlow, tmp_path: Path):
    RED.save(tmp_path / "red.png")
    messages = [question_message([str(tmp_path / "red.png")], "What?")]
    assert list(jf.stream(messages, max_new_tokens=1)) is not None
    with pytest.raises(PromptError, match="path"):
        jf.stream(messages, allow_paths=False)
