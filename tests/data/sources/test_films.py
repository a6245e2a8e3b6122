"""Rows with a film are learnt by some of its frames, or refused; never by their words alone."""

from pathlib import Path
from typing import Any

import pytest
from data_files import STEP, TAG, opened, sample, write_film, write_json, write_lines

from janusflow.config.errors import ConfigError, DataError, ImageError
from janusflow.data.sources.base import Source
from janusflow.data.sources.guess import guess_format

pytest.importorskip("av", reason="no PyAV: pip install 'janusflow[video]'; films untested")


def chat(folder: Path, question: str, *, frames: Any = 3, **row: Any) -> Source:
    write_film(folder / "films" / "x.mp4", frames=12)
    said = [{"from": "human", "value": question}, {"from": "gpt", "value": "It gets brighter."}]
    path = write_json(folder / "rows.json", [row | {"conversations": said}])
    return opened(
        "understanding", "chat", path, images=folder / "films", options={"frames": frames}
    )


@pytest.mark.parametrize("tag", ["<video>", "<image>"])
def test_frames_stand_where_the_film_does_one_a_line(tmp_path: Path, tag: str):
    made = sample(chat(tmp_path, f"{tag}\nWhat happens?", video="x.mp4"))
    (turn,) = made.turns
    assert turn.question == f"{TAG}\n{TAG}\n{TAG}\nWhat happens?"
    greys = [float(image[:, image.shape[1] // 2].mean()) for image in made.images]
    wanted = [STEP * index / 127.5 - 1 for index in (2, 6, 10)]
    assert greys == pytest.approx(wanted, abs=0.03)


def test_a_film_that_no_message_places_comes_first(tmp_path: Path):
    made = sample(chat(tmp_path, "What happens?", frames=2, videos=["x.mp4"]))
    assert len(made.images) == 2
    assert made.turns[0].question == "What happens?"


@pytest.mark.parametrize(
    ("question", "row", "told"),
    [
        ("<video>\nWhat?", {}, r"a message shows <video>, and the row has no video"),
        ("<video> <video>", {"video": "x.mp4"}, r"one more <video> than the row's 1 films"),
        ("<video>", {"video": {"bytes": "..."}}, r"a film of type dict: wanted the path"),
        ("<video>", {"video": "x.mp4", "image": "1.png"}, r"1 images and 1 films in a row"),
        ("<video>", {"video": "y.mp4"}, r"'y.mp4' does not exist in .*films: name the folder"),
    ],
)
def test_films_that_cannot_be_shown_are_bad_rows(
    tmp_path: Path, question: str, row: dict[str, Any], told: str
):
    source = chat(tmp_path, question, **row)
    with pytest.raises((DataError, ImageError), match=told):
        sample(source)


def test_html_inside_of_a_text_is_no_film(tmp_path: Path):
    made = sample(chat(tmp_path, "What does <video> do in HTML?"))
    assert made.turns[0].question == "What does <video> do in HTML?"


@pytest.mark.parametrize("frames", [0, "many", 1.5])
def test_a_number_of_frames_that_is_none_is_refused(tmp_path: Path, frames: Any):
    with pytest.raises(ConfigError, match=r"frames=.*wanted a whole number, 1 or more"):
        chat(tmp_path, "<video>", frames=frames, video="x.mp4")


def test_captions_of_films_are_not_learnt_as_texts(tmp_path: Path):
    path = write_lines(tmp_path / "rows.jsonl", {"video": "x.mp4", "text": "A man runs."})
    with pytest.raises(DataError, match="has video: films are learnt from conversations"):
        guess_format(path)
    with pytest.raises(DataError, match="the row has a video, whose words alone"):
        sample(opened("text", "text", path))
