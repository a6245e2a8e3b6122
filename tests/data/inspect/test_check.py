"""A check calls bad what training calls bad, measures files and not tensors, and finds doubles."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_files import BLUE, PREPARE, TAG, write_image, write_json
from tiny_run import make_collator, run_model, trained_tokenizer

from janusflow.config.data import SourceConfig
from janusflow.data.batches.collate import Collator
from janusflow.data.batches.mixture import Kind
from janusflow.data.inspect.check import SourceReport, check_source, chosen_rows
from janusflow.data.sources.base import BadRows, Source, WeightedSource, build_sample
from janusflow.data.sources.formats import open_source

ROW_TOKENS = 100


@pytest.fixture(scope="module")
def collate() -> Collator:
    return make_collator(run_model(), row_tokens=ROW_TOKENS)


def opened(kind: Kind, format_name: str, path: str) -> tuple[Source, list[tuple[int, int]]]:
    sizes: list[tuple[int, int]] = []
    prepare = replace(PREPARE, on_open=lambda image: sizes.append(image.size))
    ((source, _),) = open_source(kind, SourceConfig(format=format_name, path=path), prepare)
    return source, sizes


def checked(
    collate: Collator, kind: Kind, format_name: str, path: str, max_bad_share: float = 0.0
) -> SourceReport:
    source, sizes = opened(kind, format_name, path)
    report = SourceReport(
        kind=kind, name=source.name, max_bad_share=max_bad_share, num_rows=len(source)
    )
    check_source(source, range(len(source)), collate, report, sizes)
    return report


def captions(folder: Path, *rows: tuple[str, Any]) -> str:
    return write_json(folder / "rows.json", [{"image": i, "caption": c} for i, c in rows])


def chat(*turns: tuple[str, str], **others: Any) -> dict[str, Any]:
    said = [
        {"role": role, "content": text}
        for turn in turns
        for role, text in zip(("user", "assistant"), turn, strict=True)
    ]
    return {"messages": said, **others}


def test_missing_and_damaged_images_and_empty_words_are_named_by_row(
    tmp_path: Path, collate: Collator
):
    write_image(tmp_path / "1.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "1.png").read_bytes()[:40])
    rows = [("1.png", "red"), ("no.png", "red"), ("broken.png", "red"), ("1.png", " ")]
    report = checked(collate, "generation", "captions", captions(tmp_path, *rows))
    assert list(report.bad) == [1, 2, 3]
    assert "does not exist" in report.bad[1]
    assert "broken.png" in report.bad[2]
    assert "text" in report.bad[3]
    assert report.facts()["good"] == 1


def test_a_placeholder_without_its_image_is_bad_and_so_is_a_turn_longer_than_a_row(
    tmp_path: Path, collate: Collator
):
    write_image(tmp_path / "1.png")
    rows = [
        chat((f"{TAG} what?", "Red."), image="1.png"),
        chat((f"{TAG} {TAG} what?", "Red."), image="1.png"),
        chat(("what? " * ROW_TOKENS, "Red."), image="1.png"),
    ]
    report = checked(collate, "understanding", "chat", write_json(tmp_path / "r.json", rows))
    assert list(report.bad) == [1, 2]
    assert "2" in report.bad[1]
    assert f"at most {ROW_TOKENS}" in report.bad[2]


def test_the_rows_that_training_passes_over_are_the_ones_a_check_names(
    tmp_path: Path, collate: Collator
):
    write_image(tmp_path / "1.png")
    names = [("1.png", "red"), ("no.png", "red"), ("1.png", ""), ("1.png", TAG), ("1.png", "blue")]
    path = captions(tmp_path, *names)
    source, _ = opened("generation", "captions", path)
    bad = BadRows(max_share=1.0)
    for ordinal in range(4 * len(names)):
        rng = np.random.default_rng(ordinal)
        build_sample(
            [WeightedSource(source, 1.0)], ordinal, seed=0, rng=rng, build=collate.build, bad=bad
        )
    report = checked(collate, "generation", "captions", path)
    assert {(path, row): why for row, why in report.bad.items()} == {
        found: " ".join(why.split()) for found, why in bad.found.items()
    }


def test_sizes_are_those_of_the_files(tmp_path: Path, collate: Collator):
    write_image(tmp_path / "1.png")
    path = captions(tmp_path, ("1.png", "red"), ("no.png", "red"), ("1.png", "blue"))
    for kind in ("understanding", "generation"):
        report = checked(collate, kind, "captions", path)
        assert report.sizes == [(40, 20)] * 2
        assert report.facts()["largest_image"] == (40, 20)


def test_lengths_and_cut_texts_are_those_of_the_tokenizer(tmp_path: Path, collate: Collator):
    texts = ["a red circle", "a red circle " * ROW_TOKENS]
    path = write_json(tmp_path / "r.json", [{"text": text} for text in texts])
    report = checked(collate, "text", "text", path)
    words = trained_tokenizer().encode(texts[0], add_special_tokens=False).ids
    assert report.lengths == [len(words) + 2, ROW_TOKENS]
    assert report.cut == [1]
    assert report.facts()["tokens"]["max"] == ROW_TOKENS


def test_a_text_that_just_fits_is_not_cut(tmp_path: Path, collate: Collator):
    words, text = 0, ""
    while words < ROW_TOKENS - 2:
        text += "a"
        words = len(trained_tokenizer().encode(text, add_special_tokens=False).ids)
    path = write_json(tmp_path / "r.json", [{"text": text}])
    report = checked(collate, "text", "text", path)
    assert (report.lengths, report.cut) == ([ROW_TOKENS], [])


def test_a_chat_that_loses_turns_is_named(tmp_path: Path, collate: Collator):
    rows = [chat(("what?", "Red.")), chat(*[("what?", "Red.")] * ROW_TOKENS)]
    report = checked(collate, "text", "chat", write_json(tmp_path / "r.json", rows))
    assert (report.cut, report.bad) == ([1], {})


def test_doubles_have_the_same_words_and_the_same_pixels(tmp_path: Path, collate: Collator):
    for name in ("1.png", "copy.bmp"):
        write_image(tmp_path / name)
    write_image(tmp_path / "2.png", BLUE)
    rows = [("1.png", "a"), ("2.png", "a"), ("1.png", "b"), ("copy.bmp", "a"), ("1.png", "a")]
    for kind in ("understanding", "generation"):
        report = checked(collate, kind, "captions", captions(tmp_path, *rows))
        assert report.repeated == [[0, 3, 4]]
        assert report.num_duplicates == 2


@pytest.mark.parametrize(("max_bad_share", "is_refused"), [(0.24, True), (0.25, False)])
def test_a_source_is_refused_beyond_the_allowed_share(
    tmp_path: Path, collate: Collator, max_bad_share: float, is_refused: bool
):
    path = write_json(tmp_path / "r.json", [{"text": text} for text in ("a", "b", "c", " ")])
    report = checked(collate, "text", "text", path, max_bad_share)
    assert report.is_refused is is_refused


def test_a_limit_takes_that_many_different_rows_and_not_just_the_first():
    rows = chosen_rows(1000, 50)
    assert len(set(rows)) == 50
    assert list(rows) == sorted(rows)
    assert rows[-1] > 500
    assert list(chosen_rows(7, None)) == list(chosen_rows(7, 8)) == list(range(7))
