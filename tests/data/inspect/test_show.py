"""The page of samples shows what the model gets: nothing left out, nothing else."""

import base64
import io
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from data_files import PREPARE, write_image, write_json
from PIL import Image
from tiny_run import TinySources, make_collator, run_model

from janusflow.config.data import SourceConfig
from janusflow.config.training import MixtureConfig, Ratio
from janusflow.data.batches.collate import IGNORE_INDEX, Built, Collator
from janusflow.data.batches.mixture import Kind, build_samples, mixed_batches
from janusflow.data.inspect.show import build_page, pieces, strips
from janusflow.data.sources.base import BadRows
from janusflow.data.sources.formats import open_source

ALIKE = MixtureConfig(ratios=(Ratio(understanding=1.0, generation=1.0, text=1.0),), row_tokens=400)


@pytest.fixture(scope="module")
def collate() -> Collator:
    return make_collator(run_model())


@pytest.fixture(scope="module")
def built(sources: TinySources, collate: Collator) -> list[Built]:
    bad = BadRows(max_share=0.0)
    config = replace(ALIKE, batch_size=9)
    built = build_samples(
        sources.by_kind, collate.build, config, own=range(9), seed=3, step=0, bad=bad
    )
    return list(built.values())


def page_of(built: list[Built], collate: Collator) -> str:
    return build_page(built, collate, PREPARE, name="<a>", model="tiny", seed=3, num_bad=0)


def shown_images(html: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return [Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB") for data in found]


def one_image(kind: Kind, collate: Collator, path: Path, caption: str = "red") -> list[Built]:
    rows = write_json(path.with_suffix(".json"), [{"image": path.name, "caption": caption}])
    ((source, _),) = open_source(kind, SourceConfig(format="captions", path=rows), PREPARE)
    return [collate.build(source.sample(0, np.random.default_rng(0)))]


def test_the_samples_are_those_of_a_runs_first_step(
    sources: TinySources, collate: Collator, built: list[Built]
):
    config = MixtureConfig(ratios=ALIKE.ratios, row_tokens=400, batch_size=9)
    (first,) = next(mixed_batches(sources.by_kind, collate, config, seed=3, step=0))
    assert collate.pack(built).rows.token_ids.tolist() == first.rows.token_ids.tolist()


def test_pieces_end_to_end_are_the_sample(built: list[Built], collate: Collator):
    for each in built:
        cut, row = pieces(each, collate), each.row
        assert [token for piece in cut for token in piece.token_ids] == row.token_ids
        places = [place for piece in cut for place in [piece.kind] * len(piece.token_ids)]
        assert [place == "learnt" for place in places] == [
            label != IGNORE_INDEX for label in row.labels
        ]
        assert [place == "drawing" for place in places] == row.is_drawing
        assert [piece.position for piece in cut] == [row.position_ids[p.start] for p in cut]


def test_a_strip_is_as_wide_as_its_row_and_holds_every_sample(
    built: list[Built], collate: Collator
):
    batch = collate.pack(built)
    drawn = list(strips(batch, built, collate))
    assert len(drawn) == len(batch.rows.segment_ids)
    for strip in drawn:
        widths = re.findall(r"flex: (\d+)", strip)
        assert sum(map(int, widths)) == batch.rows.segment_ids.shape[1]
    found = {int(number) for strip in drawn for number in re.findall(r"#sample-(\d+)", strip)}
    assert found == set(range(len(built)))


def test_a_image_to_understand_is_shown_padded_to_the_byte(tmp_path: Path, collate: Collator):
    path = write_image(tmp_path / "1.png")
    (shown,) = shown_images(page_of(one_image("understanding", collate, path), collate))
    expected = PREPARE.image_processor.square(path)
    assert np.array_equal(np.asarray(shown), np.asarray(expected))
    assert shown.getpixel((0, 0)) != shown.getpixel((16, 16))


def test_a_image_to_draw_is_shown_cropped_with_prompt_and_seed(tmp_path: Path, collate: Collator):
    path = tmp_path / "1.png"
    shades = np.repeat(np.arange(32, dtype=np.uint8)[None] * 8, 16, axis=0)
    Image.fromarray(shades).convert("RGB").save(path)
    made = one_image("generation", collate, path)
    html = page_of(made, collate)
    (shown,) = shown_images(html)
    pixels = np.asarray(shown)[:, :, 0]
    left = int(pixels[0, 0]) // 8
    assert np.array_equal(pixels, shades[:, left : left + 16])
    assert f"prompt: red<br>seed {made[0].sample.seed}" in html


def test_words_cannot_break_the_page(tmp_path: Path, collate: Collator):
    path = write_image(tmp_path / "1.png")
    html = page_of(one_image("generation", collate, path, "<script>alert(1)</script>"), collate)
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert "samples of &lt;a&gt;" in html


def test_the_page_needs_no_network(built: list[Built], collate: Collator):
    html = page_of(built, collate)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', html)
    assert addresses
    assert all(address.startswith(("data:image/png", "#sample-")) for address in addresses)
