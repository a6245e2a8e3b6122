"""Typical samples: rows of the sources where they can be read, assumed lengths where not."""

from pathlib import Path

import pytest
from data_files import write_lines
from tiny_stage import stage_recipe, write_parts

from janusflow.config.dry_run import TypicalLengths
from janusflow.config.recipes import StageRecipe
from janusflow.data.mixture import KINDS, Kind
from janusflow.training.estimate.sizes import sizes_of
from janusflow.training.estimate.typical import Typical

NOWHERE = [{"format": "captions", "path": "no/where.jsonl"}]
NO_DATA = {"understanding": NOWHERE, "generation": NOWHERE, "text": []}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_parts(tmp_path_factory.mktemp("parts"))


def typical(recipe: StageRecipe, lengths: TypicalLengths | None = None) -> Typical:
    return Typical(recipe, sizes_of(recipe), lengths or TypicalLengths())


def test_rows_of_sources_at_hand_are_read(root: Path):
    found = typical(stage_recipe(root))
    for kind in KINDS:
        lengths = {len(found.sample(kind, ordinal).row) for ordinal in range(20)}
        assert len(lengths) > 2, kind
    assert all("64 rows read of its sources" in note for note in found.notes)


def test_pictures_of_rows_that_were_read_have_no_memory(root: Path):
    found = typical(stage_recipe(root))
    batch = found.collate.pack([found.sample(kind, 0) for kind in KINDS])
    assert batch.pixel_values is not None
    assert batch.pixel_values.is_meta
    assert batch.drawings is not None
    assert batch.drawings.pixel_values.is_meta


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("understanding", "question_tokens"),
        ("understanding", "answer_tokens"),
        ("generation", "prompt_tokens"),
        ("text", "text_tokens"),
    ],
)
def test_every_assumed_length_lengthens_its_kind(root: Path, kind: Kind, name: str):
    recipe = stage_recipe(root, data=NO_DATA)
    short, long = (
        typical(recipe, TypicalLengths(**{name: number})).sample(kind, 0).row
        for number in (20, 120)
    )
    assert len(long) - len(short) == 100
    is_learnt = name in ("answer_tokens", "text_tokens")
    learnt = [sum(label >= 0 for label in row.labels) for row in (short, long)]
    assert learnt[1] - learnt[0] == (100 if is_learnt else 0)


def test_assumed_samples_say_so_and_hold_the_models_pictures(root: Path):
    found = typical(stage_recipe(root, data=NO_DATA))
    assert all("assumed" in note for note in found.notes)
    drawn = found.sample("generation", 0)
    assert sum(drawn.row.is_drawing) == 1 + 16
    assert found.sample("understanding", 3) == found.sample("understanding", 0)


def test_sources_that_cannot_be_read_are_told_and_lengths_assumed(root: Path, tmp_path: Path):
    path = tmp_path / "broken.jsonl"
    path.write_text('{"caption": "no picture"}\n', encoding="utf-8")
    broken = [{"format": "captions", "path": str(path)}]
    recipe = stage_recipe(root, data={**NO_DATA, "generation": broken})
    notes = typical(recipe).notes
    assert any("generation: its sources cannot be read" in note for note in notes)


def test_streams_at_hand_are_read_too_and_others_are_assumed(root: Path, tmp_path: Path):
    near = write_lines(tmp_path / "t.jsonl", {"text": "a"}, {"text": "a red circle and a star"})
    for path, told in ((near, "64 rows read"), ("https://example.org/t.jsonl", "assumed")):
        text = [{"format": "text", "path": path, "options": {"streaming": True}}]
        found = typical(stage_recipe(root, data={**NO_DATA, "text": text}))
        (note,) = (note for note in found.notes if note.startswith("text"))
        assert told in note
