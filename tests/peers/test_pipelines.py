"""transformers' pipelines over mini answer what `jf.ask` answers."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import ImageTextToTextPipeline, pipeline

from janusflow.inference.pipeline import JanusFlow

QUESTIONS = ["Describe the picture.", "How many shapes are there?"]
ASKED = {"max_new_tokens": 64, "return_full_text": False}


@pytest.fixture(scope="module")
def pipe(mini_folder: Path) -> ImageTextToTextPipeline:
    return pipeline("image-text-to-text", model=str(mini_folder), device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def wanted(mini: JanusFlow, image: Image.Image) -> list[str]:
    return [str(mini.ask(image, question)) for question in QUESTIONS]


def chat(image: Image.Image, question: str) -> list[dict[str, Any]]:
    parts = [{"type": "image", "image": image}, {"type": "text", "text": question}]
    return [{"role": "user", "content": parts}]


def test_images_and_texts_side_by_side(
    pipe: ImageTextToTextPipeline, image: Image.Image, wanted: list[str]
):
    texts = [
        pipe.processor.apply_chat_template(chat(image, question), add_generation_prompt=True)
        for question in QUESTIONS
    ]
    for batch, answers in ((texts, wanted), (texts[0], wanted[:1])):
        images = [image] * len(answers)
        found = pipe(images=images, text=batch, **ASKED)
        assert [each["generated_text"].strip() for each in found] == answers


@pytest.mark.parametrize("batch_size", [1, 2])
def test_chats_one_by_one_and_in_batches(
    pipe: ImageTextToTextPipeline, image: Image.Image, wanted: list[str], batch_size: int
):
    chats = [chat(image, question) for question in QUESTIONS]
    found = pipe(text=chats, batch_size=batch_size, **ASKED)
    assert [each[0]["generated_text"].strip() for each in found] == wanted


def test_a_whole_chat_comes_back_with_its_answer(
    pipe: ImageTextToTextPipeline, image: Image.Image, wanted: list[str]
):
    (found,) = pipe(text=chat(image, QUESTIONS[0]), max_new_tokens=64)
    assert [turn["role"] for turn in found["generated_text"]] == ["user", "assistant"]
    assert found["generated_text"][-1]["content"].strip() == wanted[0]


def test_an_answer_that_was_begun_goes_on(
    pipe: ImageTextToTextPipeline, image: Image.Image, wanted: list[str]
):
    begun, rest = wanted[0].split(" ", 1)
    turns = [*chat(image, QUESTIONS[0]), {"role": "assistant", "content": begun}]
    (found,) = pipe(text=turns, **ASKED)
    assert found["generated_text"].strip() == rest


@pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None,
    reason="transformers' any-to-any pipeline requires torchvision, whatever the model",
)
def test_any_to_any_answers_the_same(mini_folder: Path, image: Image.Image, wanted: list[str]):
    pipe = pipeline("any-to-any", model=str(mini_folder), device="cpu", dtype="float32")
    (found,) = pipe(text=chat(image, QUESTIONS[0]), generation_mode="text", **ASKED)
    assert found["generated_text"].strip() == wanted[0]
