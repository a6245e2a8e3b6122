"""Data files as people publish them, written here in their true layouts, make the right samples."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from data_files import BLUE, RED, TAG, opened, sample, write_image, write_json, write_lines
from PIL import Image

from janusflow.config.errors import DataError, PromptError
from janusflow.data.samples import GenerationSample, TextSample, Turn, UnderstandingSample
from janusflow.data.sources.formats import CAPTION_QUESTION, LAYOUTS


def is_colour(pixels: torch.Tensor, colour: tuple[int, int, int]) -> bool:
    """Whether an image's middle is of one colour, up to JPEG's losses."""
    middle = pixels[:, pixels.shape[1] // 2, pixels.shape[2] // 2]
    return bool(((middle + 1) * 127.5 - torch.tensor(colour)).abs().max() < 12)


def assert_asked(made: Any, colour: tuple[int, int, int], *turns: tuple[str, str]) -> None:
    assert isinstance(made, UnderstandingSample)
    assert [(turn.question, turn.answer) for turn in made.turns] == list(turns)
    assert is_colour(made.images[0], colour)


def assert_drawn(made: Any, colour: tuple[int, int, int], *prompts: str) -> None:
    assert isinstance(made, GenerationSample)
    assert made.prompt in prompts
    assert made.latent is None
    assert made.pixel_values.shape == (3, 16, 16)
    assert is_colour(made.pixel_values, colour)


# ---- chats --------------------------------------------------------------------------------------


def test_llava_json(tmp_path: Path):
    """llava_instruct_150k.json, with rows of no and of several images between the others."""
    write_image(tmp_path / "coco" / "1.jpg")
    write_image(tmp_path / "coco" / "2.jpg", BLUE)
    one = {
        "id": "1",
        "image": "1.jpg",
        "conversations": [
            {"from": "human", "value": "What is it?\n<image>"},
            {"from": "gpt", "value": "Red."},
            {"from": "human", "value": "Sure?"},
            {"from": "gpt", "value": "Yes."},
        ],
    }
    two = {
        "id": "2",
        "image": ["2.jpg", "1.jpg"],
        "conversations": [
            {"from": "human", "value": "<image>\n<image>\nSame?"},
            {"from": "gpt", "value": "No."},
        ],
    }
    none = {
        "id": "3",
        "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}],
    }
    path = write_json(tmp_path / "llava.json", [one, two, none])
    source = opened("understanding", "chat", path, images=tmp_path / "coco")
    assert len(source) == 3
    assert_asked(sample(source, 0), RED, (f"What is it?\n{TAG}", "Red."), ("Sure?", "Yes."))
    made = sample(source, 1)
    assert_asked(made, BLUE, (f"{TAG}\n{TAG}\nSame?", "No."))
    assert is_colour(made.images[1], RED)
    assert sample(source, 2) == UnderstandingSample(
        images=(), turns=(Turn(question="Hi", answer="Hello"),)
    )


def test_chats_without_images_may_be_text(tmp_path: Path):
    row = {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]}
    source = opened("text", "chat", write_lines(tmp_path / "onevision.jsonl", row))
    assert sample(source).turns == (Turn(question="Hi", answer="Hello"),)


def test_openai_messages(tmp_path: Path):
    path = write_image(tmp_path / "a.png", BLUE)
    parts = [{"type": "image", "image": str(path)}, {"type": "text", "text": "What?"}]
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": "Blue."},
    ]
    source = opened(
        "understanding", "chat", write_json(tmp_path / "m.json", [{"messages": messages}])
    )
    assert_asked(sample(source), BLUE, (f"{TAG}\nWhat?", "Blue."))


def test_a_image_no_message_mentions_is_seen_all_the_same(tmp_path: Path):
    write_image(tmp_path / "1.png")
    said = [{"from": "human", "value": "What?"}, {"from": "gpt", "value": "Red."}]
    path = write_json(tmp_path / "c.json", [{"image": "1.png", "conversations": said}])
    assert_asked(sample(opened("understanding", "chat", path)), RED, ("What?", "Red."))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"conversations": [{"from": "human", "value": "Hi"}]}, "wanted its answer"),
        ({"conversations": [{"from": "gpt", "value": "Hi"}]}, "user and assistant take turns"),
        (
            {"conversations": [{"from": "human", "text": "Hi"}]},
            "message 1 has from, text: wanted role",
        ),
        ({"conversations": ["Hi"]}, "message 1 has 'Hi': wanted role"),
        ({"talk": []}, "the row has talk; wanted conversations or messages"),
        (
            {
                "conversations": [
                    {"from": "human", "value": "<image>"},
                    {"from": "gpt", "value": "x"},
                ]
            },
            "give one image for each",
        ),
    ],
)
def test_a_chat_that_is_none_says_why(tmp_path: Path, row: dict[str, Any], told: str):
    source = opened("understanding", "chat", write_json(tmp_path / "c.json", [row]))
    with pytest.raises((DataError, PromptError), match=told):
        sample(source)


# ---- captions -----------------------------------------------------------------------------------


def test_pairs_in_lines_draw_and_describe(tmp_path: Path):
    write_image(tmp_path / "a.png")
    path = write_lines(tmp_path / "pairs.jsonl", {"image": "a.png", "caption": "all red"})
    assert_drawn(sample(opened("generation", "captions", path)), RED, "all red")
    seen = sample(opened("understanding", "captions", path))
    assert_asked(seen, RED, (CAPTION_QUESTION, "all red"))


def test_columns_may_have_other_names(tmp_path: Path):
    write_image(tmp_path / "a.png")
    path = tmp_path / "table.csv"
    path.write_text("bild,beschreibung,caption\na.png,ganz rot,no\n", encoding="utf-8")
    columns = {"image": "bild", "caption": "beschreibung"}
    assert_drawn(
        sample(opened("generation", "captions", str(path), options=columns)), RED, "ganz rot"
    )


def test_a_folder_of_images_with_metadata(tmp_path: Path):
    write_image(tmp_path / "art" / "a.png")
    write_image(tmp_path / "art" / "b.png", BLUE)
    write_lines(
        tmp_path / "art" / "metadata.jsonl",
        {"file_name": "a.png", "text": "red"},
        {"file_name": "b.png", "text": "blue"},
    )
    source = opened("generation", "captions", str(tmp_path / "art"))
    assert_drawn(sample(source, 0), RED, "red")
    assert_drawn(sample(source, 1), BLUE, "blue")


def shard(path: Path, *captions: str) -> None:
    """As img2dataset writes LAION: 00000.jpg, 00000.txt, 00000.json."""
    with tarfile.open(path, "w") as tar:
        for number, caption in enumerate(captions):
            jpg = io.BytesIO()
            Image.new("RGB", (30, 30), RED).save(jpg, "JPEG", quality=100)
            meta = json.dumps({"url": "http://x", "caption": caption, "status": "success"})
            files = (("jpg", jpg.getvalue()), ("txt", caption.encode()), ("json", meta.encode()))
            for end, data in files:
                info = tarfile.TarInfo(f"{number:09d}.{end}")
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))


def test_webdataset_shards_of_img2dataset(tmp_path: Path):
    shard(tmp_path / "00000.tar", "one", "two")
    shard(tmp_path / "00001.tar", "three")
    source = opened("generation", "captions", str(tmp_path / "*.tar"))
    assert [sample(source, row).prompt for row in range(len(source))] == ["one", "two", "three"]
    assert_drawn(sample(source), RED, "one")


def test_parquet_with_the_images_inside(tmp_path: Path):
    import datasets

    features = datasets.Features({"image": datasets.Image(), "text": datasets.Value("string")})
    data = write_image(tmp_path / "a.png").read_bytes()
    rows = {"image": [{"bytes": data, "path": None}], "text": ["red"]}
    datasets.Dataset.from_dict(rows, features=features).to_parquet(tmp_path / "x.parquet")
    assert_drawn(sample(opened("generation", "captions", str(tmp_path / "x.parquet"))), RED, "red")


def test_coco_captions(tmp_path: Path):
    write_image(tmp_path / "train2017" / "000000000009.jpg")
    content = {
        "images": [
            {"id": 9, "file_name": "000000000009.jpg"},
            {"id": 10, "file_name": "000000000010.jpg"},
        ],
        "annotations": [
            {"image_id": 9, "id": 1, "caption": "one"},
            {"image_id": 9, "id": 2, "caption": "two "},
        ],
    }
    path = write_json(tmp_path / "captions_train2017.json", content)
    source = opened("generation", "coco-captions", path, images=tmp_path / "train2017")
    assert len(source) == 1
    prompts = {source.sample(0, np.random.default_rng(seed)).prompt for seed in range(20)}
    assert prompts == {"one", "two"}


def test_journeydb(tmp_path: Path):
    write_image(tmp_path / "imgs" / "000" / "a.jpg")
    rows = [
        {"img_path": "000/a.jpg", "prompt": "p --v 4", "Task2": {"Caption": "a caption"}},
        {"img_path": "000/a.jpg", "prompt": "only a prompt", "Task2": None},
    ]
    path = write_lines(tmp_path / "train_anno.jsonl", *rows)
    source = opened("generation", "journeydb", path, images=tmp_path / "imgs")
    assert_drawn(sample(source, 0), RED, "a caption")
    assert_drawn(sample(source, 1), RED, "only a prompt")


def test_localized_narratives_of_open_images(tmp_path: Path):
    write_image(tmp_path / "0a1b.jpg")
    row = {"dataset_id": "oi", "image_id": "0a1b", "caption": "In this image ...", "traces": []}
    path = write_lines(tmp_path / "open_images_train_captions.jsonl", row)
    assert_drawn(
        sample(opened("generation", "localized-narratives", path)), RED, "In this image ..."
    )


# ---- questions ----------------------------------------------------------------------------------


def test_vqav2(tmp_path: Path):
    write_image(tmp_path / "COCO_train2014_000000000025.jpg", BLUE)
    questions = {"questions": [{"image_id": 25, "question": "What?", "question_id": 25000}]}
    answers = [{"answer": "blue"}, {"answer": "navy"}]
    annotation = {"question_id": 25000, "multiple_choice_answer": "blue", "answers": answers}
    path = write_json(tmp_path / "questions.json", questions)
    given = write_json(tmp_path / "annotations.json", {"annotations": [annotation]})
    source = opened("understanding", "vqav2", path, options={"answers": given})
    assert_asked(sample(source), BLUE, ("What?", "blue"))


def test_gqa(tmp_path: Path):
    write_image(tmp_path / "images" / "2370799.jpg")
    question = {"imageId": "2370799", "question": "What?", "answer": "red", "isBalanced": True}
    path = write_json(tmp_path / "train_balanced_questions.json", {"02930152": question})
    source = opened("understanding", "gqa", path, images=tmp_path / "images")
    assert_asked(sample(source), RED, ("What?", "red"))


def test_of_several_answers_the_most_frequent_is_learnt(tmp_path: Path):
    write_image(tmp_path / "a.png")
    row = {"image": "a.png", "question": "What?", "answers": ["no", "red", "red"]}
    source = opened("understanding", "vqa", write_lines(tmp_path / "vqa.jsonl", row))
    assert_asked(sample(source), RED, ("What?", "red"))


# ---- text ---------------------------------------------------------------------------------------


def test_c4_lines(tmp_path: Path):
    row = {"text": "Some words.", "timestamp": "2019-04-25T12:57:54Z", "url": "https://x"}
    source = opened("text", "text", write_lines(tmp_path / "c4-train.00000.json.gz", row))
    assert sample(source) == TextSample(text="Some words.")


def test_openwebtext_parquet_and_plain_lines(tmp_path: Path):
    import datasets

    datasets.Dataset.from_dict({"text": ["A page."]}).to_parquet(tmp_path / "o.parquet")
    (tmp_path / "t.txt").write_text("one\ntwo\n", encoding="utf-8")
    assert sample(opened("text", "text", str(tmp_path / "o.parquet"))).text == "A page."
    assert sample(opened("text", "text", str(tmp_path / "t.txt")), 1).text == "two"


def test_every_format_is_tested_here():
    tested = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in tested for name in LAYOUTS)
