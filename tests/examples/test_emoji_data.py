"""Emoji from small packages made up here: joined by code points, split, rendered."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_emoji_data
import numpy as np
import pytest
from make_emoji_data import (
    NAMING,
    SPLITS,
    STYLES,
    Emoji,
    Style,
    captions,
    read_emoji,
    read_labels,
    render_svg,
    split_emoji,
    split_of,
    svg_by_hexcode,
    write_emoji,
)
from npm_packages import REGISTRY_SETTING, NpmPackage
from npm_registry import publish
from PIL import Image

from janusflow.config.data import SourceConfig
from janusflow.config.errors import ConfigError, DataError
from janusflow.data.prepare import Preparation
from janusflow.data.samples import GenerationSample, UnderstandingSample
from janusflow.data.sources.base import Source
from janusflow.data.sources.formats import open_source
from janusflow.processing.images import JanusFlowImageProcessor

APPLE, HEART, WAVE = "1F34E", "2764-FE0F", "1F44B"
ENGLISH = [
    {"hexcode": APPLE, "label": "red apple", "group": 4},
    {"hexcode": HEART, "label": "red heart", "group": 0},
    {
        "hexcode": WAVE,
        "label": "waving hand",
        "group": 1,
        "skins": [{"hexcode": "1F44B-1F3FB", "label": "waving hand: light skin tone", "group": 1}],
    },
    {"hexcode": "1F3FB", "label": "light skin tone", "group": 2},
    {"hexcode": "1F1E6", "label": "regional indicator A"},
]
KOREAN = [
    {"hexcode": WAVE, "label": "흔드는 손", "group": 1},
    {"hexcode": APPLE, "label": "빨간 사과", "group": 4},
    {"hexcode": HEART, "label": "빨간색 하트", "group": 0},
]
LABELS = read_labels(ENGLISH, KOREAN)
RED = '<path fill="#ff0000" d="M0 0H{0}V{0}H0z"/>'


def icons(side: int) -> dict[str, Any]:
    body = RED.format(side)
    return {
        "width": side,
        "height": side,
        "icons": {name: {"body": body} for name in ("apple", "heart", "wave", "wave-light")},
    }


CHARS = {"1f34e": "apple", "2764": "heart", "1f44b": "wave", "1f44b-1f3fb": "wave-light"}


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, NpmPackage]:
    """A registry in which one style lacks the heart."""
    registry = tmp_path / "registry"
    monkeypatch.setenv(REGISTRY_SETTING, registry.as_uri())
    few = {code: name for code, name in CHARS.items() if name != "heart"}
    published = {
        "names": publish(registry, "names", {"en/data.json": ENGLISH, "ko/data.json": KOREAN}),
        "flat": publish(registry, "flat", {"icons.json": icons(32), "chars.json": CHARS}),
        "noto": publish(registry, "noto", {"icons.json": icons(128), "chars.json": few}),
    }
    styles = {
        name: Style(images=published[name], code_points=published[name], words=STYLES[name].words)
        for name in ("flat", "noto")
    }
    monkeypatch.setattr(make_emoji_data, "NAMES", published["names"])
    monkeypatch.setattr(make_emoji_data, "PACKAGES", tuple(published.values()))
    monkeypatch.setattr(make_emoji_data, "STYLES", styles)
    return published


def png(svg: str, *, size: int) -> bytes:
    """Stands in for the renderer: as many grey levels as the SVG's units are wide."""
    assert svg.startswith("<svg")
    buffer = io.BytesIO()
    grey = 32 if 'viewBox="0 0 32 32"' in svg else 128
    Image.new("RGB", (size, size), (grey,) * 3).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def data(packages: dict[str, NpmPackage], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The written folder; no label is held out unless by a hash of its last bit or so."""
    monkeypatch.setattr(make_emoji_data, "render_svg", png)
    write_emoji(tmp_path / "data", size=16, held_out_style="noto", held_out_labels=10**9)
    return tmp_path / "data"


def test_labels_are_joined_over_languages_without_skin_tones_and_parts():
    assert list(LABELS) == ["1f34e", "2764", "1f44b"]
    assert LABELS["2764"] == {"en": "red heart", "ko": "빨간색 하트"}


def test_images_keep_their_own_units_and_are_found_by_bare_code_points():
    """Iconify: an image's own size goes before its set's, which goes before 16."""
    found = svg_by_hexcode(
        {
            "height": 20,
            "icons": {"a": {"body": "<a/>"}, "b": {"body": "<b/>", "width": 9, "left": 2}},
        },
        {"2764-FE0F": "a", "1f34e": "b", "1f44b": "nothing"},
    )
    assert found.keys() == {"2764", "1f34e"}
    assert 'viewBox="0 0 16 20"><a/></svg>' in found["2764"]
    assert 'viewBox="2 0 9 20"><b/></svg>' in found["1f34e"]


def test_a_style_or_a_label_that_is_held_out_is_in_no_training_row():
    codes = [f"{number:x}" for number in range(600)]
    labels: Any = {code: {"en": code, "ko": code} for code in codes}
    drawn = {"flat": set(codes), "noto": set(codes[50:])}
    splits = split_emoji(labels, drawn, style="noto", one_in=4)
    by_split = {split: {(e.style, e.hexcode) for e in splits[split]} for split in SPLITS}
    known = {code for _, code in by_split["train"]}
    unknown = {code for _, code in by_split["held-out-labels"]}
    assert {style for style, _ in by_split["train"]} == {"flat"}
    assert {code for _, code in by_split["held-out-style"]} == known
    assert not known & unknown
    assert known | unknown == set(codes[50:])
    assert 100 < len(unknown) < 175  # 550 / 4, within three standard deviations and a half


@pytest.mark.parametrize("code", ["1f34e", "2764", "1f44b"])
def test_the_split_of_a_label_does_not_depend_on_the_others(code: str):
    alone = split_emoji({code: LABELS[code]}, {"flat": {code}}, style="noto", one_in=3)
    with_others = split_emoji(LABELS, {"flat": set(LABELS)}, style="noto", one_in=3)
    split = split_of(code, is_style_held_out=False, one_in=3)
    assert split is not None
    assert alone[split] == [e for e in with_others[split] if e.hexcode == code]


@pytest.mark.parametrize(
    ("label", "article"),
    [
        ("red apple", "a"),
        ("airplane", "an"),
        ("unicorn", "a"),
        ("umbrella", "an"),
        ("hourglass done", "an"),
        ("OK hand", "an"),
        ("euro banknote", "a"),
        ("one-piece swimsuit", "a"),
    ],
)
def test_an_article_fits_its_label(label: str, article: str):
    shown = Emoji(image="", hexcode="", style="flat", en=label, ko="가")
    assert captions(shown) == {"en": f"{article} {label} emoji", "ko": "가 이모지"}


def test_what_is_written_is_what_the_formats_read(data: Path):
    """Images that not all styles draw are left out; styles differ in their grey."""
    prepare = Preparation(
        image_processor=JanusFlowImageProcessor(image_size=16), drawing_size=16, image_tag="<i>"
    )
    emptied = [split for split in SPLITS if not read_emoji(data, split)]
    assert emptied == ["held-out-labels"]
    for split, grey in (("train", 32), ("held-out-style", 128)):
        config = SourceConfig(format="captions", path=str(data / f"{split}.jsonl"))
        ((source, _),) = open_source("generation", config, prepare)
        assert isinstance(source, Source)  # a stream has no length
        assert len(source) == 2
        sample = source.sample(0, np.random.default_rng(0))
        assert isinstance(sample, GenerationSample)
        assert "red apple" in sample.prompt or "빨간 사과" in sample.prompt
        assert sample.pixel_values is not None
        levels = sample.pixel_values.unique().tolist()
        assert levels == pytest.approx([grey / 127.5 - 1], abs=1e-6)
    config = SourceConfig(format="vqa", path=str(data / NAMING))
    ((source, _),) = open_source("understanding", config, prepare)
    asked = [source.sample(row, np.random.default_rng(0)) for row in range(4)]
    turns = [turn for a in asked if isinstance(a, UnderstandingSample) for turn in a.turns]
    assert [turn.answer for turn in turns] == ["red apple", "빨간 사과", "waving hand", "흔드는 손"]
    assert "What is this?" in turns[0].question


def lines_of(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_only_training_captions_name_a_style(data: Path):
    train, other = (
        [json.loads(line)["caption"] for line in lines_of(data / f"{split}.jsonl")]
        for split in ("train", "held-out-style")
    )
    assert train[0] == [*other[0], "a red apple emoji, flat", "빨간 사과 이모지, 평면"]


def test_a_second_run_renders_nothing_anew(data: Path, monkeypatch: pytest.MonkeyPatch):
    before = {path: path.read_bytes() for path in data.rglob("*") if path.is_file()}
    monkeypatch.setattr(
        make_emoji_data, "render_svg", lambda *_, **__: pytest.fail("rendered again")
    )
    write_emoji(data, size=16, held_out_style="noto", held_out_labels=10**9)
    assert {path: path.read_bytes() for path in data.rglob("*") if path.is_file()} == before


def test_an_unknown_style_and_a_missing_folder_are_one_line(tmp_path: Path):
    with pytest.raises(ConfigError, match="held_out_style=oil: wanted one of flat, shaded, noto"):
        write_emoji(tmp_path, size=16, held_out_style="oil", held_out_labels=2)
    with pytest.raises(ConfigError, match="held_out_labels=1: one in so many"):
        write_emoji(tmp_path, held_out_labels=1)
    with pytest.raises(DataError, match=r"make_emoji_data\.py --output"):
        read_emoji(tmp_path, "train")


def test_a_missing_renderer_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "resvg_py", None)
    with pytest.raises(DataError, match="pip install resvg-py"):
        render_svg("<svg/>", size=4)


@pytest.fixture
def renderer() -> Callable[..., bytes]:
    reason = "NOT RENDERED: resvg-py is missing, pip install resvg-py"
    pytest.importorskip("resvg_py", reason=reason)
    return render_svg


def test_a_image_is_rendered_on_white_at_its_size(renderer: Callable[..., bytes]):
    """The right half of a set 8 units wide is red."""
    chars = {"1f34e": "apple"}
    half = {"body": '<path fill="#f00" d="M4 0H8V8H4z"/>'}
    svg = svg_by_hexcode({"width": 8, "height": 8, "icons": {"apple": half}}, chars)["1f34e"]
    image = Image.open(io.BytesIO(renderer(svg, size=20))).convert("RGB")
    assert image.size == (20, 20)
    colours = {x: image.getpixel((x, 10)) for x in range(20)}
    assert all(colours[x] == (255, 255, 255) for x in range(10))
    assert all(colours[x] == (255, 0, 0) for x in range(10, 20))


def test_what_cannot_be_rendered_is_one_line(renderer: Callable[..., bytes]):
    with pytest.raises(DataError, match="cannot be rendered") as refused:
        renderer("<svg", size=4)
    assert "\n" not in str(refused.value)
