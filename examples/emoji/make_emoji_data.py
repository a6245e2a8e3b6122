"""Emoji with their names in English and Korean, as training data: two styles, a third held out.

Run: python examples/emoji/make_emoji_data.py [--output runs/emoji/data] [--size 64]

Images are SVG of three artists' sets, names those of Unicode's CLDR (packages in PACKAGES; MIT,
and Apache-2.0 for Noto), joined by code points. Skin tones and country flags are left out.
"""

import argparse
import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from npm_packages import NpmPackage, fetch_package, read_member
from tqdm import tqdm

from janusflow.config.errors import ConfigError, DataError, JanusFlowError
from janusflow.config.files import replace_bytes, replace_text

Split = Literal["train", "held-out-style", "held-out-labels"]
SPLITS: tuple[Split, ...] = ("train", "held-out-style", "held-out-labels")
"""Of all images but those whose style and label are both held out, which nobody needs."""
Language = Literal["en", "ko"]
QUESTIONS: dict[Language, str] = {"en": "What is this?", "ko": "이것은 무엇인가요?"}
NAMING = "train-naming.jsonl"
DATA = Path("runs/emoji/data")
VARIATION_SELECTOR = "fe0f"
"""Asks for a coloured glyph; sets differ in where they write it."""
COMPONENT = 2
"""emojibase's group of skin tones and hair."""
AN = re.compile(r"(?!uni|euro|one)[aeiou]|hour", re.IGNORECASE)
"""How labels begin that take `an`."""

BOX = {"left": 0, "top": 0, "width": 16, "height": 16}
"""Iconify's defaults of an image's place and size in its own units."""

NAMES = NpmPackage(
    name="emojibase-data",
    version="17.0.0",
    integrity="sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItl"
    "jHsTygjA==",
)
FLAT = NpmPackage(
    name="@iconify-json/fluent-emoji-flat",
    version="1.2.6",
    integrity="sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1"
    "M4fRXlUw==",
)
SHADED = NpmPackage(
    name="@iconify-json/fluent-emoji",
    version="1.2.7",
    integrity="sha512-D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4"
    "hz4Hc/QA==",
)
NOTO = NpmPackage(
    name="@iconify-json/noto",
    version="1.2.9",
    integrity="sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqH"
    "YeZVAuaw==",
)


@dataclass(frozen=True, kw_only=True)
class Style:
    """A set of drawings by one hand."""

    images: NpmPackage
    """Has `icons.json`: SVG by name."""
    code_points: NpmPackage
    """Has `chars.json`: names by code points. SHADED has none, but shares FLAT's names."""
    words: Mapping[Language, str]
    """What a caption may call it."""


STYLES: dict[str, Style] = {
    "flat": Style(images=FLAT, code_points=FLAT, words={"en": "flat", "ko": "평면"}),
    "shaded": Style(images=SHADED, code_points=FLAT, words={"en": "shaded", "ko": "입체"}),
    "noto": Style(images=NOTO, code_points=NOTO, words={"en": "noto", "ko": "노토"}),
}
PACKAGES = (NAMES, FLAT, SHADED, NOTO)


@dataclass(frozen=True, kw_only=True)
class Emoji:
    """One emoji in one style. A row of a split's file has all of this and its captions."""

    image: str
    """Its image, relative to the data's folder."""
    hexcode: str
    style: str
    en: str
    ko: str


def write_emoji(
    folder: Path, *, size: int = 64, held_out_style: str = "noto", held_out_labels: int = 12
) -> None:
    """Fetch the packages, render the images, and write the splits; what is there is kept.

    `train.jsonl` and its like are of the format `captions`, `train-naming.jsonl` of the format
    `vqa`.

    Args:
        folder: gets `packages/`, `images/` and the files.
        size: rows and columns of an image, in pixels.
        held_out_style: one of STYLES.
        held_out_labels: one label in so many is held out, decided by a hash of its code points.

    Raises:
        ConfigError: there is no such style, or all labels would be held out.
        DataError: a package cannot be fetched or rendered.
    """
    if held_out_style not in STYLES:
        raise ConfigError(f"held_out_style={held_out_style}: wanted one of {', '.join(STYLES)}.")
    if held_out_labels < 2:
        raise ConfigError(f"held_out_labels={held_out_labels}: one in so many, wanted 2 or more.")
    files = {package.name: fetch_package(package, folder / "packages") for package in PACKAGES}
    labels = read_labels(*(read_member(files[NAMES.name], f"{n}/data.json") for n in QUESTIONS))
    drawn = {
        name: svg_by_hexcode(
            read_member(files[style.images.name], "icons.json"),
            read_member(files[style.code_points.name], "chars.json"),
        )
        for name, style in STYLES.items()
    }
    splits = split_emoji(labels, drawn, style=held_out_style, one_in=held_out_labels)
    for emoji in tqdm([emoji for found in splits.values() for emoji in found], unit="image"):
        path = folder / emoji.image
        if not path.is_file():
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_bytes(path, render_svg(drawn[emoji.style][emoji.hexcode], size=size))
    for split, found in splits.items():
        _write_rows(folder / f"{split}.jsonl", captioned(found, with_style=split == "train"))
    _write_rows(folder / NAMING, questioned(splits["train"]))


def read_labels(
    english: list[dict[str, Any]], korean: list[dict[str, Any]]
) -> dict[str, dict[Language, str]]:
    """Names by code points from emojibase's `data.json`, in its order.

    Skin tones are lists inside their emoji and so left out; components and the letters that make
    up flags are left out by their groups.
    """
    in_korean = {entry["hexcode"]: entry["label"] for entry in korean}
    return {
        bare(entry["hexcode"]): {"en": entry["label"], "ko": in_korean[entry["hexcode"]]}
        for entry in english
        if entry.get("group", COMPONENT) != COMPONENT and entry["hexcode"] in in_korean
    }


def svg_by_hexcode(icons: Mapping[str, Any], chars: Mapping[str, str]) -> dict[str, str]:
    """An Iconify set's images as SVG documents, by code points."""
    found = {}
    for hexcode, name in chars.items():
        icon = icons["icons"].get(name)
        if icon is not None:
            own = {**BOX, **icons, **icon}
            box = " ".join(str(own[side]) for side in BOX)
            found[bare(hexcode)] = (
                '<svg xmlns="http://www.w3.org/2000/svg" '
                f'xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}">{icon["body"]}</svg>'
            )
    return found


def bare(hexcode: str) -> str:
    """Code points as we write them: lower case, without variation selectors."""
    return "-".join(p for p in hexcode.lower().split("-") if p != VARIATION_SELECTOR)


def split_emoji(
    labels: Mapping[str, Mapping[Language, str]],
    drawn: Mapping[str, Collection[str]],
    *,
    style: str,
    one_in: int,
) -> dict[Split, list[Emoji]]:
    """The emoji that all styles draw, by split; those of a held-out style and label are left out.

    Args:
        labels: names by code points.
        drawn: code points by style.
        style: the one that is held out.
        one_in: one label in so many is held out, decided by a hash of its code points.
    """
    splits: dict[Split, list[Emoji]] = {split: [] for split in SPLITS}
    for name in drawn:
        for hexcode, words in labels.items():
            split = split_of(hexcode, is_style_held_out=name == style, one_in=one_in)
            if split is not None and all(hexcode in each for each in drawn.values()):
                image = f"pictures/{name}/{hexcode}.png"
                emoji = Emoji(image=image, hexcode=hexcode, style=name, **words)
                splits[split].append(emoji)
    return splits


def split_of(hexcode: str, *, is_style_held_out: bool, one_in: int) -> Split | None:
    """The split of an image; None if neither its style nor its label is trained on."""
    digest = hashlib.sha256(hexcode.encode()).digest()
    is_label_held_out = int.from_bytes(digest[:8], "big") % one_in == 0
    if is_style_held_out:
        return None if is_label_held_out else "held-out-style"
    return "held-out-labels" if is_label_held_out else "train"


def captions(emoji: Emoji) -> dict[Language, str]:
    """What it is called as a drawing."""
    article = "an" if AN.match(emoji.en) else "a"
    return {"en": f"{article} {emoji.en} emoji", "ko": f"{emoji.ko} 이모지"}


def captioned(found: Iterable[Emoji], *, with_style: bool) -> Iterator[dict[str, Any]]:
    """Rows of the format `captions`, in both languages, half of them with the style if asked."""
    for emoji in found:
        plain = captions(emoji)
        words = STYLES[emoji.style].words
        styled = [f"{text}, {words[language]}" for language, text in plain.items()]
        yield {**asdict(emoji), "caption": [*plain.values(), *(styled if with_style else [])]}


def questioned(found: Iterable[Emoji]) -> Iterator[dict[str, Any]]:
    """Rows of the format `vqa`, one a language."""
    for emoji in found:
        for language, question in QUESTIONS.items():
            yield {"image": emoji.image, "question": question, "answer": getattr(emoji, language)}


def read_emoji(folder: Path, split: Split) -> list[Emoji]:
    """The emoji of a split.

    Raises:
        DataError: the step that writes them has not been run.
    """
    path = folder / f"{split}.jsonl"
    if not path.is_file():
        raise DataError(
            f"no {path}: make it (python examples/emoji/make_emoji_data.py --output {folder})."
        )
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return [Emoji(**{name: row[name] for name in Emoji.__annotations__}) for row in rows]


def render_svg(svg: str, *, size: int) -> bytes:
    """An image of `size` by `size` pixels on white, as PNG.

    Raises:
        DataError: the renderer is not installed, or cannot read the SVG.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise DataError(f"rendering SVG needs resvg-py ({error}): pip install resvg-py.") from error
    try:
        return svg_to_bytes(
            svg_string=svg, width=size, height=size, background="white", skip_system_fonts=True
        )
    except ValueError as error:
        raise DataError(f"{svg[:60]}... cannot be rendered ({error}).") from error


def _write_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    replace_text(path, "".join(lines))


def main() -> None:
    """Write everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, default=DATA)
    parser.add_argument("--size", type=int, default=64, help="rows and columns of an image")
    parser.add_argument("--held-out-style", default="noto", help=f"one of {', '.join(STYLES)}")
    parser.add_argument("--held-out-labels", type=int, default=12, help="one in so many")
    options = parser.parse_args()
    try:
        write_emoji(
            options.output,
            size=options.size,
            held_out_style=options.held_out_style,
            held_out_labels=options.held_out_labels,
        )
    except JanusFlowError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
