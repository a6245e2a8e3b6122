"""Bad files, rows and settings of data: each one clear line; and images made to fit."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import BLUE, PREPARE, RED, opened, sample, write_json, write_lines
from datasets import Dataset, IterableDataset
from PIL import Image

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError, DataError, ImageError
from janusflow.data.sources.streams import Shard, ShardLengths, StreamedTable
from janusflow.data.sources.tables import open_table

STREAMING = {"streaming": True}


def test_a_image_that_is_missing_or_damaged_is_named(tmp_path: Path):
    (tmp_path / "b.png").write_bytes(b"no picture")
    rows = ({"image": "a.png", "caption": "x"}, {"image": "b.png", "caption": "x"})
    source = opened("generation", "captions", write_lines(tmp_path / "p.jsonl", *rows))
    missing = r"^'a\.png' does not exist in .*: name the folder .*--images FOLDER"
    for row, told in enumerate((missing, r"b\.png.* not an image")):
        with pytest.raises(ImageError, match=told):
            sample(source, row)


def test_words_that_are_no_text_are_a_bad_row(tmp_path: Path):
    source = opened("text", "text", write_lines(tmp_path / "t.jsonl", {"text": [["x"]]}))
    with pytest.raises(DataError, match=r"text is \['x'\]: wanted a text or a list of texts"):
        sample(source)
    asked = {"image": "a.png", "question": True, "answer": "x"}
    source = opened("understanding", "vqa", write_lines(tmp_path / "q.jsonl", asked))
    with pytest.raises(DataError, match="question is True: wanted a text"):
        sample(source)


@pytest.mark.parametrize("row", [{"image": "a.png"}, {"image": "a.png", "caption": " "}])
def test_a_row_without_words_is_named(tmp_path: Path, row: dict[str, str]):
    source = opened("generation", "captions", write_lines(tmp_path / "p.jsonl", row))
    with pytest.raises(
        DataError, match=r"wanted caption or captions|no text in caption, which is ' '"
    ):
        sample(source)


def test_unknown_formats_options_and_misplaced_kinds_are_refused(tmp_path: Path):
    path = write_lines(tmp_path / "p.jsonl", {"text": "x"})
    with pytest.raises(ConfigError, match="format 'chats' is unknown: use chat, captions"):
        opened("text", "chats", path)
    with pytest.raises(ConfigError, match="makes text samples, not generation"):
        opened("generation", "text", path)
    with pytest.raises(ConfigError, match=r"no option colum; it knows split, .*, text"):
        opened("text", "text", path, options={"colum": "x"})
    with pytest.raises(ConfigError, match="must be above 0"):
        SourceConfig(format="text", path=path, weight=0.0)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.jsonl", None, "no file .*none.jsonl"),
        ("x.xyz", b"?", "cannot tell what .*x.xyz is"),
        ("x.json", b"{", "is no JSON"),
        ("x.json", b"[]", "x.json has no rows"),
        ("x.json", None, "no file .*x.json"),
        ("x.jsonl", b"{]", "cannot read .*x.jsonl"),
        ("x.parquet", b"PAR", "cannot read .*x.parquet"),
    ],
)
def test_a_file_that_is_no_table_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes | None, told: str
):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        open_table(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"streaming": "yes"}, "streaming='yes': wanted true or false"),
        ({"streaming": True, "shuffle_buffer": 0}, "shuffle_buffer=0: wanted a number of rows"),
        ({"streaming": True, "shuffle_buffer": "9"}, "shuffle_buffer='9': wanted a number of rows"),
        ({"shuffle_buffer": 9}, "shuffle_buffer=9 is for streaming=true"),
    ],
)
def test_wrong_options_are_refused_by_name(tmp_path: Path, options: dict[str, Any], told: str):
    path = write_lines(tmp_path / "t.jsonl", {"text": "x"})
    with pytest.raises(ConfigError, match=told):
        opened("text", "text", path, options=options)


def test_what_cannot_be_streamed_is_refused_by_name(tmp_path: Path):
    listed = write_json(tmp_path / "t.json", [{"text": "x"}])
    with pytest.raises(DataError, match=r"streaming=true of .*t\.json, which has to be read as"):
        opened("text", "text", listed, options=STREAMING)
    with pytest.raises(DataError, match=r"streaming=true of .*, which has to be read as a whole"):
        opened("generation", "captions", str(tmp_path), options=STREAMING)
    with pytest.raises(ConfigError, match="coco-captions has no option streaming"):
        opened("generation", "coco-captions", listed, options=STREAMING)


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("none.jsonl", None, "no file .*none.jsonl"),
        ("x.jsonl", b"", "x.jsonl.* has no rows"),
        ("x.jsonl", b"{]", "cannot read .*x.jsonl"),
        ("x.parquet", b"PAR", "cannot read .*x.parquet"),
        ("x.tar", b"no tar", "cannot read .*x.tar"),
    ],
)
def test_a_stream_that_is_none_is_one_clear_line(
    tmp_path: Path, name: str, content: bytes | None, told: str
):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=told) as caught:
        opened("text", "text", str(tmp_path / name), options=STREAMING)
    assert "\n" not in str(caught.value)


def test_drawn_images_keep_their_shape_and_fill_the_crop():
    """Of an image twice as wide as high, now one half and now the other; nothing is padded."""
    wide = Image.new("RGB", (64, 32), RED)
    wide.paste(BLUE, (32, 0, 64, 32))
    drawn = [PREPARE.for_generation(wide, np.random.default_rng(seed)) for seed in range(40)]
    crops = [crop.pixel_values for crop in drawn if crop.pixel_values is not None]
    assert len(crops) == 40
    shares = [float((crop[2] > 0).float().mean()) for crop in crops]
    assert min(shares) < 0.15
    assert max(shares) > 0.85
    seen = PREPARE.for_understanding(wide)
    assert seen.shape == (3, 32, 32)
    assert seen[:, 0].abs().max() < 0.01  # padded in the mean colour above and below


def test_a_stream_cuts_a_shard_off_when_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """For each it takes `datasets` time that grows with their number."""
    cut: list[int] = []
    shard = IterableDataset.shard

    def noted(table: Any, num_shards: int, index: int) -> Any:
        cut.append(index)
        return shard(table, num_shards, index)

    monkeypatch.setattr(IterableDataset, "shard", noted)
    for name in ("0", "1"):
        Dataset.from_dict({"text": [name]}).to_parquet(tmp_path / f"{name}.parquet")
    table = open_table(f"{tmp_path}/*.parquet", streaming=True)
    cut.clear()  # the first was cut off to see whether it holds a row
    assert [table[row]["text"] for row in range(4)] == ["0", "1"] * 2
    assert cut == [0, 1] * 2


def test_a_stream_that_is_dropped_closes_its_file_at_once():
    """A file left open until garbage is collected is a warning in whatever runs by then."""
    closed = []

    class Rows:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            try:
                yield from ({"text": str(number)} for number in range(3))
            finally:
                closed.append(True)

    def read_one_row() -> None:
        lengths = ShardLengths(source="rows", num_shards=1)
        table = StreamedTable(name="rows", shards=[Shard("rows", Rows().__iter__)], lengths=lengths)
        assert table[0] == {"text": "0"}
        assert not closed

    gc.disable()
    try:
        read_one_row()
        assert closed
    finally:
        gc.enable()
