"""Emoji of plain greys: a model that knows them is right, and one that draws others is not."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from make_emoji_data import QUESTIONS, SPLITS, Emoji, Split, captions, read_emoji
from measure_emoji import Judge, emoji_drawing, emoji_naming, features, is_label, some_of
from PIL import Image
from tiny_run import VAE

from janusflow.evaluation.core.runner import run_task
from janusflow.evaluation.core.tasks import Task, ToDraw
from janusflow.inference.drawing.sampling import DrawingSettings

SIZE = 16
GREYS: dict[Split, dict[str, int]] = {
    "train": {"black": 0, "dim": 60, "pale": 200},
    "held-out-style": {"black": 10, "dim": 70, "pale": 210},
    "held-out-labels": {"white": 255},
}
STYLES: dict[Split, tuple[str, ...]] = {
    "train": ("flat", "shaded"),
    "held-out-style": ("noto",),
    "held-out-labels": ("flat", "shaded"),
}
SHADE = 3
"""How much lighter the style `shaded` is."""


def grey(level: int) -> Image.Image:
    return Image.new("RGB", (SIZE, SIZE), (max(0, min(level, 255)),) * 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As the recipe's first step leaves it."""
    folder = tmp_path_factory.mktemp("emoji")
    for split in SPLITS:
        rows = []
        for style in STYLES[split]:
            for name, level in GREYS[split].items():
                image = f"pictures/{style}/{name}.png"
                shown = grey(level + SHADE * (style == "shaded"))
                (folder / image).parent.mkdir(parents=True, exist_ok=True)
                shown.save(folder / image)
                rows.append(Emoji(image=image, hexcode=name, style=style, en=name, ko=f"ko {name}"))
        lines = "".join(json.dumps(asdict(row)) + "\n" for row in rows)
        (folder / f"{split}.jsonl").write_text(lines, encoding="utf-8")
    return folder


class Knowing:
    """Draws and names greys by their levels; `off` moves what it draws."""

    image_size = SIZE

    def __init__(self, *, off: int = 0) -> None:
        torch.manual_seed(0)
        self.vae, self.off = AutoencoderKL(**VAE).eval(), off
        self.asked: list[str] = []

    def generate(self, prompt: Sequence[str], **_: Any) -> list[Image.Image]:
        levels = GREYS["train"] | GREYS["held-out-labels"]
        named = [next(n for n in levels if n in text) for text in prompt]
        return [grey(levels[name] + self.off) for name in named]

    def answer(self, conversations: Sequence[Sequence[Any]], **_: Any) -> list[str]:
        answers = []
        for (message,) in conversations:
            image, text = message["content"][0], message["content"][-1]["text"]
            self.asked.append(text)
            source = next(v for k, v in image.items() if k != "type")
            level = Image.open(source).convert("L").getpixel((0, 0)) // 10
            levels = {v // 10: n for split in SPLITS for n, v in GREYS[split].items()}
            name = levels[level].capitalize() + "."
            answers.append(name if text == QUESTIONS["en"] else f"ko {name}")
        return answers


def scores_of(task: Task, model: Knowing) -> dict[str, Any]:
    report = run_task(task, model, name="toy", drawing=DrawingSettings())
    return {score.name: score for score in report.scores}


def drawing_scores(folder: Path, *, off: int = 0) -> dict[str, Any]:
    model = Knowing(off=off)
    return scores_of(emoji_drawing(folder, model, limit=300), model)


def test_who_names_every_image_is_right_in_each_split_and_language(folder: Path):
    model = Knowing()
    scores = scores_of(emoji_naming(folder, limit=300), model)
    assert {name: (s.num_right, s.num_items) for name, s in scores.items()} == {
        f"{split} {language}": (n := len(GREYS[split]) * len(STYLES[split]), n)
        for split in SPLITS
        for language in QUESTIONS
    }
    assert set(model.asked) == set(QUESTIONS.values())


def test_a_drawing_is_right_where_the_nearest_true_image_has_its_label(folder: Path):
    scores = drawing_scores(folder)
    for kind, number in (("learnt", 3), ("unknown", 1)):
        for language in QUESTIONS:
            for near in ("", ", in 5"):
                score = scores[f"{kind} {language}{near}"]
                assert (score.num_right, score.num_items) == (number, number)
    # 60 is nearer to 0 (or 3) than to 60 + 62; 200 + 62 is white; only black becomes dim.
    wrong = drawing_scores(folder, off=-62)
    assert wrong["learnt en"].num_right == 2
    assert wrong["learnt en, in 5"].num_right == 3


def test_the_judge_and_the_vae_are_measured_on_true_images(folder: Path):
    scores = drawing_scores(folder)
    assert scores["judge across learnt styles"].value == 1.0
    assert scores["judge on the held-out style"].num_right == 3
    assert scores["PSNR in dB, held-out-style"].num_items == 3
    assert not scores["PSNR in dB, train"].is_share
    assert scores["judge on rebuilt images"].num_items == 6


def test_ranks_count_labels_and_not_images(folder: Path):
    judge = Judge(folder, read_emoji(folder, "train"))
    between = grey(50)  # dim 60, 63; black 0, 3; pale 200, 203
    assert judge.nearest(between).hexcode == "dim"
    assert [judge.rank(between, name) for name in ("dim", "black", "pale")] == [0, 1, 2]
    # 32 is nearer to flat's 60 than to shaded's 3, and nearer to shaded's 3 than to its 63.
    assert judge.rank(grey(32), "dim") == 0
    assert judge.rank(grey(32), "dim", without="flat") == 1


def test_features_are_means_of_boxes():
    image = Image.new("RGB", (64, 32), "black")
    image.paste("white", (0, 0, 2, 1))  # half of the first box, which is 4 by 2
    assert features(image)[:4].tolist() == pytest.approx([0.25] * 3 + [0.0], abs=1 / 255)


def test_a_limit_takes_a_part_of_what_a_higher_one_takes(folder: Path):
    emoji = [Emoji(image=f"{i}", hexcode="", style="", en="", ko="") for i in range(50)]
    assert some_of(emoji[::-1], 9) == some_of(emoji, 20)[:9]
    assert some_of(emoji, 9) != emoji[:9]
    task = emoji_naming(folder, limit=1)
    assert len(task.items) == len(SPLITS) * len(QUESTIONS)


@pytest.mark.parametrize(
    ("answer", "is_right"),
    [("Red apple.", True), (" red apple\n", True), ("apple", False), ("a red apple", False)],
)
def test_an_answer_is_the_whole_label(answer: str, is_right: bool):
    assert is_label(answer, "red apple") == is_right


def test_prompts_are_the_captions_that_training_saw(folder: Path):
    task = emoji_drawing(folder, Knowing(), limit=300)
    prompts = {item.prompt for item in task.items if isinstance(item, ToDraw)}
    black = Emoji(image="", hexcode="", style="", en="black", ko="ko black")
    assert set(captions(black).values()) <= prompts
