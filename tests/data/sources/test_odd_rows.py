"""Rows as people write them: tags, shapes and numbers of every layout are read, or bad rows."""

import base64
import gc
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from data_files import BLUE, RED, TAG, opened, sample, write_image, write_json
from tiny_run import make_collator, run_model, trained_tokenizer

from janusflow.config.errors import ConfigError, DataError, ImageError, PromptError
from janusflow.data.samples import Turn, UnderstandingSample

ROLES = (("user", "assistant"), ("human", "gpt"), ("User", "Assistant"), ("Human", "GPT"))
LONGEST = 500
"""Characters of a message: a few lines."""


@pytest.fixture
def images(tmp_path: Path) -> Path:
    write_image(tmp_path / "0.png", RED)
    write_image(tmp_path / "1.png", BLUE)
    return tmp_path


def row_of(folder: Path, row: Any, layout: str, **options: str) -> Any:
    path = write_json(folder / "rows.json", [row])
    kind = "text" if layout == "text" else "understanding"
    return sample(opened(kind, layout, path, options=options))


def turns_of(folder: Path, row: Any, layout: str, **options: str) -> list[tuple[str, str]]:
    return [(turn.question, turn.answer) for turn in row_of(folder, row, layout, **options).turns]


def refusal(folder: Path, row: Any, layout: str, **options: str) -> str:
    with pytest.raises((DataError, PromptError, ImageError)) as error:
        row_of(folder, row, layout, **options)
    assert len(str(error.value)) < LONGEST
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("column", "role", "content", "names"),
    [*product(("messages", "conversations"), ("role", "from"), ("content", "value"), ROLES)],
)
def test_a_tag_is_where_the_image_goes_whatever_the_keys_are_called(
    images: Path, column: str, role: str, content: str, names: tuple[str, str]
):
    said = [{role: names[0], content: "Is <image> as <image>?"}, {role: names[1], content: "No."}]
    made = row_of(images, {"images": ["0.png", "1.png"], column: said}, "chat")
    assert [(turn.question, turn.answer) for turn in made.turns] == [(f"Is {TAG} as {TAG}?", "No.")]
    assert len(made.images) == 2


def test_tags_stand_in_parts_too(images: Path):
    parts = [{"type": "text", "text": "<image> or"}, {"type": "image", "text": None}]
    said = [{"role": "user", "content": parts}, {"role": "assistant", "content": ["No."]}]
    row = {"images": ["0.png", "1.png"], "messages": said}
    assert turns_of(images, row, "chat") == [(f"{TAG} or\n{TAG}", "No.")]


def chat(*texts: Any, **others: Any) -> dict[str, Any]:
    names = ("human", "gpt")
    said = [{"from": names[i % 2], "value": text} for i, text in enumerate(texts)]
    return {"image": "0.png", "conversations": said} | others


def test_what_is_told_of_a_row_is_in_its_own_words(images: Path):
    assert "1 has 2 <image> without" in refusal(images, chat("<image><image>", "x"), "chat")
    for empty in ("", " ", None, []):
        told = "message 2 (gpt) is empty"
        assert told in refusal(images, chat("<image>Hi", empty), "chat")
        assert "message 1 (human) is empty" in refusal(images, chat(empty, "x"), "chat")
        assert "message 3 (human)" in refusal(images, chat("<image>", "x", empty, "x"), "chat")
    assert "conversations is empty" in refusal(images, {"conversations": []}, "chat")
    assert "'hi': wanted a list" in refusal(images, {"conversations": "hi"}, "chat")
    assert "message 1 has None" in refusal(images, {"conversations": [None]}, "chat")


def test_a_system_prompt_is_read_before_the_conversation(images: Path):
    said = [
        {"from": "system", "value": "Answer in French."},
        *chat("<image>Hi", "x")["conversations"],
    ]
    for row in (
        chat(said=1) | {"conversations": said},
        chat("<image>Hi", "x", system=said[0]["value"]),
    ):
        assert row_of(images, row, "chat").system == "Answer in French."
    assert row_of(images, chat("Hi", "x", system=""), "chat").system is None
    said[0]["value"] = ""
    assert row_of(images, {"image": "0.png", "conversations": said}, "chat").system is None


def test_a_system_prompt_is_where_inference_puts_it_and_is_not_learnt():
    turns = (Turn(question="red", answer="blue"), Turn(question="one", answer="two"))
    model, words = run_model(), "a red circle"
    collate = make_collator(model)
    plain = collate.build(UnderstandingSample(images=(), turns=turns)).row
    row = collate.build(UnderstandingSample(images=(), turns=turns, system=f" {words}\n")).row
    read = trained_tokenizer().decode(row.token_ids, skip_special_tokens=True)
    assert read.startswith(f"{words}\n\nUser: red")
    assert read.count(words) == 1
    assert [each for each in row.labels if each >= 0] == [
        each for each in plain.labels if each >= 0
    ]


@pytest.mark.parametrize(
    ("answer", "text"), [(2, "2"), (2.5, "2.5"), ([1, 2, 2], "2"), (["red", "red", 1], "red")]
)
def test_numbers_are_words(images: Path, answer: Any, text: str):
    row = {"image": "0.png", "question": "How many?", "answer": answer}
    assert turns_of(images, row, "vqa") == [("How many?", text)]
    if not isinstance(answer, list):
        assert turns_of(images, chat("<image>", answer), "chat") == [(TAG, text)]
        row = {"image": "0.png", "caption": answer}
        assert turns_of(images, row, "captions")[0][1] == text


def test_lists_beside_lists_are_turns_in_order_or_a_bad_row(images: Path):
    row: dict[str, Any] = {"image": "0.png", "question": ["What colour?", "How many?", "Edges?"]}
    asked = [*zip(row["question"], ("red", "1", "none"), strict=True)]
    assert turns_of(images, row | {"answer": ["red", 1, "none"]}, "vqa") == asked
    nested = [["red", "red", "blue"], "1", ["none"]]
    assert turns_of(images, row | {"answer": nested}, "vqa") == asked
    for answers in (["red", "1"], ["red"], "red", ["red", "", "1"]):
        told = refusal(images, row | {"answer": answers}, "vqa")
        assert "wanted one" in told
    assert "2 images for one caption" in refusal(
        images, {"images": ["0.png", "1.png"], "caption": "x"}, "captions"
    )
    assert "2 texts in one row" in refusal(images, {"text": ["a", "b"]}, "text")


def test_values_of_another_shape_are_named_and_can_be_reached(images: Path):
    row = {"image": "0.png", "caption": {"short": "a red circle", "long": "a circle that ..."}}
    told = refusal(images, row, "captions")
    assert "caption.short, caption.long" in told
    assert turns_of(images, row, "captions", caption="caption.long")[0][1] == "a circle that ..."
    row = {"meta": {"Image": {"path": "0.png"}}, "answers": [{"answer": "a"}, {"answer": "a"}]}
    names = {"image": "meta.image", "caption": "answers.answer"}
    assert turns_of(images, row, "captions", **names)[0][1] == "a"
    for value in (True, [["x"]], [True]):
        assert "wanted a text" in refusal(images, {"image": "0.png", "caption": value}, "captions")


def test_embedded_images_are_read_in_columns_and_messages(images: Path):
    data = base64.b64encode((images / "1.png").read_bytes()).decode()
    for held in (data, f"data:image/png;base64,{data}", {"bytes": None, "url": data}):
        made = row_of(images, {"image": held, "caption": "x"}, "captions")
        assert made.images[0][2].mean() > 0 > made.images[0][0].mean()
        url = held if isinstance(held, str) else data
        part = {"type": "image_url", "image_url": {"url": url}}
        said = [{"role": "user", "content": [part]}, {"role": "assistant", "content": "x"}]
        assert len(row_of(images, {"messages": said}, "chat").images) == 1


@pytest.mark.parametrize(
    "row",
    [
        {"image": "data:image/png;base64,@@@" + "A" * 400_000, "caption": "x"},
        {"image": "iVBORw0KGgo" + "A" * 400_000, "caption": "x"},
        {"image": "x" * 400_000, "caption": "x"},
        {"image": {"y" * 400_000: "x"}, "caption": "x"},
        {"image": "https://" + "x" * 400_000, "caption": "x"},
        {"image": "0.png", "caption": {"x" * 100_000: 1}},
        {"image": "0.png", "caption": [["x" * 400_000]]},
        {f"{i}" * 1000: "x" for i in range(500)},
    ],
)
def test_no_message_is_longer_than_a_few_lines(images: Path, row: Any):
    refusal(images, row, "captions")


def test_a_special_token_typed_in_a_text_is_a_bad_row_whichever_it_is():
    tokenizer = trained_tokenizer()
    collate = make_collator(run_model())
    special = [t.content for t in tokenizer.get_added_tokens_decoder().values() if t.special]
    assert len(special) > 3
    for token in special:
        for turn in (
            Turn(question="red", answer=f"a {token} b"),
            Turn(question=f"{token}", answer="red"),
        ):
            with pytest.raises(DataError):
                collate.build(UnderstandingSample(images=(), turns=(turn,)))


@pytest.mark.parametrize(
    ("layout", "content", "told"),
    [
        (
            "coco-captions",
            {
                "images": [{"id": 1, "file_name": "0.png"}],
                "annotations": [{"image_id": 1, "bbox": [0, 0, 1, 1]}],
            },
            r"entry 0 of annotations has no caption but image_id, bbox: wanted image_id, caption",
        ),
        ("coco-captions", {"images": []}, "has images: wanted a list of annotations"),
        ("coco-captions", [1], "holds no object: wanted a list of annotations"),
        ("gqa", {"1": {"imageId": "1", "question": "q"}}, "entry 0 of questions has no answer"),
        ("gqa", [1], "is not as format gqa has it"),
    ],
)
def test_a_file_that_is_another_of_its_data_set_names_key_and_file(
    tmp_path: Path, layout: str, content: Any, told: str
):
    path = write_json(tmp_path / "instances.json", content)
    with pytest.raises(DataError, match=told) as error:
        opened("understanding", layout, path)
    assert path in str(error.value)


def test_the_rows_of_one_large_object_are_no_python_objects(tmp_path: Path):
    num = 5000
    images = [{"id": n, "file_name": f"{n}.png"} for n in range(num)]
    captions = [{"image_id": n, "caption": f"number {n}"} for n in range(num)]
    coco = write_json(tmp_path / "coco.json", {"images": images, "annotations": captions})
    asked = {f"q{n}": {"imageId": "1", "question": "q", "answer": f"{n}"} for n in range(num)}
    gqa = write_json(tmp_path / "gqa.json", asked)
    del images, captions, asked
    before = len(gc.get_objects())
    sources = [
        opened("generation", "coco-captions", coco),
        opened("understanding", "gqa", gqa),
    ]
    gc.collect()
    assert len(gc.get_objects()) - before < num
    assert [len(source) for source in sources] == [num, num]


def test_a_file_of_no_rows_is_refused(tmp_path: Path):
    path = write_json(tmp_path / "coco.json", {"images": [], "annotations": []})
    with pytest.raises(DataError, match=f"{path} has no rows"):
        opened("understanding", "coco-captions", path)


def test_vqav2_without_its_answers_is_refused_by_name(tmp_path: Path):
    path = write_json(tmp_path / "questions.json", {"questions": []})
    with pytest.raises(ConfigError, match=r"answers='': name the annotations file"):
        opened("understanding", "vqav2", path)


def test_a_class_is_named_by_words_and_not_by_its_number(images: Path):
    row = {"image": "0.png", "label": 3}
    told = refusal(images, row, "captions", caption="label")
    assert told == "label is 3, a class's number: wanted its name in words."
    named = row | {"label": "cat"}
    assert turns_of(images, named, "captions", caption="label")[0][1] == "cat"


def test_class_folders_of_images_are_named_by_their_folders(tmp_path: Path):
    for name in ("cat", "dog"):
        write_image(tmp_path / "classes" / name / "0.png")
    settings = {"images": None, "options": {"caption": "label"}}
    source = opened("generation", "captions", str(tmp_path / "classes"), **settings)
    assert sorted(sample(source, row).prompt for row in range(len(source))) == ["cat", "dog"]


def test_a_caption_column_of_another_name_is_to_be_named(images: Path):
    told = refusal(images, {"image": "0.png", "title": "a cat"}, "captions")
    assert "has image, title; wanted caption or" in told
    assert told.endswith("(or name another by an option).")
