"""The best of several drawings: who is drawn, who is asked, who is kept."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import janusflow
from janusflow.config.errors import ConfigError
from janusflow.inference.answering.chat import question_message
from janusflow.inference.drawing.best_of import own_judgement
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.pipeline import JanusFlow
from janusflow.mini import knowledge
from janusflow.mini.language.captions import description
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import sample_scene

PROMPT = "a red circle"
RED = Image.new("RGB", (40, 40), "red")


def seeds(images: Sequence[Image.Image]) -> list[int]:
    return [record.seed for image in images if (record := record_of(image))]


@dataclass
class Scores:
    """Scores by seed, and remembers who was asked about."""

    of_seed: dict[int, float]
    asked: list[tuple[int, str]] = field(default_factory=list)

    def __call__(self, image: Image.Image, prompt: str) -> float:
        (seed,) = seeds([image])
        self.asked.append((seed, prompt))
        return self.of_seed[seed]


@dataclass
class Says:
    """Describes an image in given words, and says yes with a given probability."""

    description: str
    yes: float
    asked: list[str] = field(default_factory=list)

    def ask(self, images: Image.Image, question: str, *, max_new_tokens: int) -> str:
        self.asked.append(question)
        return self.description

    def log_likelihood(self, images: Image.Image, question: str, answer: str) -> float:
        self.asked.append(f"{question} {answer}")
        return math.log({"yes": self.yes, "no": 1 - self.yes}[answer])


def test_candidates_have_their_own_seeds_and_the_best_is_kept_with_its_own(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    scorer = Scores({5: 0.1, 1_000_005: 0.3, 2_000_005: 0.2, 6: 3.0, 1_000_006: 1.0, 2_000_006: 2})
    monkeypatch.setattr(jf, "scorer", scorer)
    kept = jf.generate(["one", "둘"], steps=1, seed=5, best_of=3)
    assert seeds(kept) == [1_000_005, 6]
    assert scorer.asked == [
        (seed + candidate, prompt)
        for seed, prompt in ((5, "one"), (6, "둘"))
        for candidate in (0, 1_000_000, 2_000_000)
    ]
    (again,) = jf.generate("one", steps=1, seed=1_000_005)
    assert np.abs(np.asarray(again, dtype=int) - np.asarray(kept[0], dtype=int)).max() <= 1


def test_every_candidate_is_drawn_once_and_one_of_one_asks_nothing(
    jf: JanusFlow, llm_count: Any, monkeypatch: pytest.MonkeyPatch
):
    decoded: list[int] = []
    decode = jf.vae.decode
    monkeypatch.setattr(jf.vae, "decode", lambda z: decoded.append(len(z)) or decode(z))
    scorer = Scores(dict.fromkeys([0, 1_000_000, 2_000_000, 3_000_000], 0.0))
    monkeypatch.setattr(jf, "scorer", scorer)
    (kept,) = jf.generate(PROMPT, steps=2, seed=0, best_of=4)
    assert (sum(decoded), len(scorer.asked)) == (4, 4)
    assert seeds([kept]) == [0]  # all score alike
    assert llm_count.calls == 1 + 2
    jf.generate(PROMPT, steps=2, seed=0)
    assert len(scorer.asked) == 4


@pytest.mark.slow
def test_plans_are_made_from_the_candidates_own_seeds(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    """So that the kept image's seed alone gives it again."""
    monkeypatch.setattr(jf.model.config, "plans", True)
    monkeypatch.setattr(jf, "scorer", lambda image, _: float(seeds([image])[0]))
    kept = jf.generate(["one", "둘"], steps=1, seed=5, best_of=2)
    assert seeds(kept) == [1_000_005, 1_000_006]
    again = jf.generate(["one", "둘"], steps=1, seed=1_000_005)
    assert [p.info["plan"] for p in again] == [p.info["plan"] for p in kept]
    assert kept[0].info["plan"] != kept[1].info["plan"]


def test_the_model_itself_is_asked_three_times_about_each_where_shapes_are_named(
    jf: JanusFlow, monkeypatch: pytest.MonkeyPatch
):
    asked: list[str] = []
    read = jf.prepare_inputs

    def count(conversations: Any, **chosen: Any) -> Any:
        asked.append(conversations[0][-1]["content"][-1]["text"])
        return read(conversations, **chosen)

    monkeypatch.setattr(jf, "prepare_inputs", count)
    monkeypatch.setattr(jf, "knowledge", knowledge)
    jf.generate(PROMPT, steps=1, seed=0, best_of=2)
    yes_or_no = "Does the picture show a red circle?"
    assert asked == ["Describe the picture.", yes_or_no, yes_or_no] * 2
    asked.clear()
    jf.generate("a corgi in the snow.", steps=1, seed=0, best_of=2)
    assert asked == ["Does the picture show a corgi in the snow?"] * 4


@pytest.mark.parametrize(
    ("prompt", "told", "agrees"),
    [
        ("a red circle and a blue star", "a blue star left of a red circle", True),
        ("a red circle and a blue star", "a blue circle left of a red star", False),
        ("two red circles", "a red circle above a red circle", True),
        ("빨간 원 두 개", "빨간 원 세 개", False),
        ("빨간 원과 파란 별", "빨간 원 왼쪽에 파란 별", True),
        ("a corgi", "a red circle", False),
    ],
)
def test_the_right_objects_count_more_than_any_yes(prompt: str, told: str, agrees: bool):
    assert own_judgement(Says(told, yes=0.25), knowledge)(RED, prompt) == pytest.approx(
        0.25 + agrees
    )


def test_a_no_that_is_sure_is_zero_and_no_overflow():
    assert own_judgement(Says("", yes=1e-320), knowledge)(RED, "a corgi") == pytest.approx(0.0)


def test_images_are_asked_about_in_the_words_of_their_prompt():
    model = Says("빨간 원", yes=0.5)
    own_judgement(model, knowledge)(RED, "빨간 원")
    assert model.asked[0] == "그림을 설명해 줘."


def test_fewer_than_one_is_refused(jf: JanusFlow):
    with pytest.raises(ConfigError, match="best_of=0: at least 1"):
        jf.generate(PROMPT, steps=1, best_of=0)


def test_a_likelihood_is_the_product_of_the_tokens_chances(jf: JanusFlow):
    """One full forward for each token, by hand."""
    batch = jf.processor.conversations([[question_message([RED], "What?")]])
    token_ids, total = batch.input_ids, 0.0
    words = jf.processor.tokenizer.encode(" 빨간 a", add_special_tokens=False)
    for token in [*words, jf.processor.eos_token_id]:
        logits = jf.model(token_ids, pixel_values=batch.pixel_values).logits[0, -1]
        total += float(logits.log_softmax(-1)[token].detach())
        token_ids = torch.cat([token_ids, torch.tensor([[token]])], dim=1)
    assert jf.log_likelihood(RED, "What?", "빨간 a") == pytest.approx(total, rel=1e-5)


@pytest.mark.slow
def test_mini_prefers_true_images_to_others_in_both_languages():
    """Of true renders, which it describes rightly nearly always."""
    score = own_judgement(janusflow.load("mini"), knowledge)
    scenes = [
        sample_scene(np.random.default_rng(i), num_objects=2, split="heldout") for i in range(4)
    ]
    images = [render(scene, size=64) for scene in scenes]
    for index, scene in enumerate(scenes):
        prompt = description(scene, language="ko" if index % 2 else "en")
        scores = [score(image, prompt) for image in images]
        assert scores.index(max(scores)) == index
