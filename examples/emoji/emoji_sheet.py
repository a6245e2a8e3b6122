"""Show the first drawings of an `emoji-drawing` report beside the true images, none picked out.

A cell has four images: the emoji in both learnt styles, then the drawings of its English and its
Korean label; under them what was asked for.

Run: python examples/emoji/emoji_sheet.py runs/emoji/drawing.json -o docs/images/emoji-drawings.png
"""

import argparse
import json
from pathlib import Path
from typing import Any

from make_emoji_data import DATA
from PIL import Image, ImageDraw, ImageFont

SIDE, GAP, TEXT = 64, 8, 22
COLUMNS, NUM_LABELS = 3, 24
STYLES = ("flat", "shaded")


def cell(row: dict[str, Any], in_korean: Path, images: Path) -> Image.Image:
    """What one label was drawn as, beside what it looks like."""
    true = [DATA / "pictures" / style / f"{row['hexcode']}.png" for style in STYLES]
    shown = [Image.open(path) for path in (*true, images / row["image"], in_korean)]
    made = Image.new("RGB", (len(shown) * (SIDE + GAP), SIDE + GAP + TEXT), "white")
    for column, image in enumerate(shown):
        large = image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        made.paste(large, (column * (SIDE + GAP), 0))
    font = ImageFont.load_default(size=12)
    ImageDraw.Draw(made).text((0, SIDE + 2), row["prompt"], "black", font)
    return made


def main() -> None:
    """Write one image."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args()
    if not options.report.is_file():
        parser.error(f"no {options.report}: wanted the --output of measure_emoji.py drawing.")
    rows = json.loads(options.report.read_text(encoding="utf-8"))["items"]
    images = options.report.with_suffix(".images")
    english, korean = (
        {row["hexcode"]: row for row in rows if row["kind"] == f"learnt {language}"}
        for language in ("en", "ko")
    )
    if not english:
        parser.error(
            f"{options.report} has no drawings of emoji: wanted that of measure_emoji.py drawing."
        )
    cells = [
        cell(row, images / korean[hexcode]["image"], images)
        for hexcode, row in list(english.items())[:NUM_LABELS]
    ]
    width, height = cells[0].size
    num_rows = -(-len(cells) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * width + GAP, num_rows * height + GAP), "white")
    for number, each in enumerate(cells):
        row, column = divmod(number, COLUMNS)
        sheet.paste(each, (GAP + column * width, GAP + row * height))
    sheet.save(options.output, optimize=True)


if __name__ == "__main__":
    main()
