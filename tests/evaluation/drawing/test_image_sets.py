"""`fid` and `mjhq` from files to scores: drawn, by category, and cut off."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from benchmark_runs import Scripted, values
from PIL import Image

from janusflow.config.errors import ConfigError, DataError
from janusflow.evaluation.core.registry import TaskOptions, open_task
from janusflow.evaluation.core.report import save
from janusflow.evaluation.core.runner import Report, RunFiles, run_task
from janusflow.inference.drawing.sampling import DrawingSettings

MEAN_COLOUR = "image_networks:MeanColour"
RNG = np.random.default_rng(0)
REAL, MADE = RNG.integers(0, 256, (6, 3)), RNG.integers(0, 256, (8, 3))


def plain(colour: Sequence[int]) -> Image.Image:
    red, green, blue = map(int, colour)
    return Image.new("RGB", (8, 8), (red, green, blue))


def fill(folder: Path, images: dict[str, Image.Image]) -> Path:
    for name, image in images.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        image.save(folder / name)
    return folder


def closed_form(made: np.ndarray, real: np.ndarray) -> float:
    """The Frechet distance of plain images' colours, by eigenvalues of a symmetric product."""
    first, second = np.cov(made.T), np.cov(real.T)
    root = np.linalg.cholesky(first)
    overlap = np.sqrt(np.linalg.eigvalsh(root.T @ second @ root).clip(0)).sum()
    offset = made.mean(0) - real.mean(0)
    return float(offset @ offset + np.trace(first) + np.trace(second) - 2 * overlap)


def run(task: str, model: Any = None, *, files: RunFiles | None = None, **options: Any) -> Report:
    opened = open_task(task, TaskOptions(model=lambda: model, seed=7, **options))
    return run_task(opened, model, name="m", drawing=DrawingSettings(), batch_size=3, files=files)


@pytest.fixture
def real(tmp_path: Path) -> Path:
    return fill(tmp_path / "real", {f"{i}.png": plain(each) for i, each in enumerate(REAL)})


@pytest.fixture
def files(tmp_path: Path) -> RunFiles:
    return RunFiles(report=tmp_path / "out.json")


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.txt"
    path.write_text("".join(f"number {i}\n" for i in range(len(MADE))), encoding="utf-8")
    return path


def painter() -> Scripted:
    return Scripted(draw=lambda _, seed: plain(MADE[seed - 7]))


def test_what_is_drawn_from_prompts_scores_as_the_folder_it_is_kept_in(
    real: Path, files: RunFiles, prompts: Path
):
    reference = {"images": real, "features": MEAN_COLOUR}
    report = run("fid", painter(), files=files, data=prompts, **reference)
    assert values(report)["FID"] == pytest.approx(closed_form(MADE, REAL), rel=1e-4)
    # Cut off and gone on with, nothing is drawn anew.
    assert (
        run(
            "fid",
            Scripted(draw=lambda *_: pytest.fail("drew")),
            files=files,
            data=prompts,
            **reference,
        )
        == report
    )


def test_the_page_shows_images_that_are_neither_right_nor_wrong(
    real: Path, files: RunFiles, prompts: Path
):
    save(run("fid", painter(), files=files, data=prompts, images=real, features=MEAN_COLOUR), files)
    page = files.page.read_text(encoding="utf-8")
    assert page.count("<figure>") == len(MADE)
    assert 'class="right"' not in page
    assert 'class="wrong"' not in page


def test_images_that_are_measured_together_must_be_kept(real: Path, prompts: Path):
    with pytest.raises(ConfigError, match="fid got no --output"):
        run("fid", painter(), data=prompts, images=real, features=MEAN_COLOUR)


@pytest.fixture
def mjhq(tmp_path: Path) -> Path:
    """Plants and animals of four images each, one after the other."""
    entries, images = {}, {}
    for index in range(8):
        kind = ("plants", "animals")[index % 2]
        entries[f"id{index}"] = {"category": kind, "prompt": f"number {index}"}
        images[f"{kind}/id{index}.jpg"] = plain(MADE[index] if kind == "plants" else [9, 9, 9])
    fill(tmp_path / "mjhq", images)
    path = tmp_path / "meta_data.json"
    path.write_text(json.dumps(entries), encoding="utf-8")
    return path


def test_mjhq_is_measured_by_category_and_overall(mjhq: Path, files: RunFiles):
    model = painter()
    found = run(
        "mjhq", model, files=files, data=mjhq, images=mjhq.parent / "mjhq", features=MEAN_COLOUR
    )
    named = values(found)
    assert list(named) == ["FID plants", "FID animals", "FID", "KID x 1000"]
    # JPEG keeps plain colours to a level or two; animals are all of one colour there.
    assert named["FID plants"] < 5.0
    made = MADE[1::2]
    wanted = ((made.mean(0) - 9) ** 2).sum() + np.trace(np.cov(made.T))
    assert named["FID animals"] == pytest.approx(wanted, rel=0.01)
    assert model.prompted == [(f"number {i}", 7 + i) for i in range(8)]
    assert {score.name: score.num_items for score in found.scores}["FID plants"] == 4


def test_mjhqs_limit_counts_by_category_and_keeps_the_whole_reference(mjhq: Path, files: RunFiles):
    found = run(
        "mjhq",
        painter(),
        files=files,
        data=mjhq,
        images=mjhq.parent / "mjhq",
        features=MEAN_COLOUR,
        limit=2,
    )
    assert [row["id"] for row in found.rows] == ["id0", "id1", "id2", "id3"]
    assert found.settings["images"] == "mjhq, 8 images"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"category": 3, "prompt": "p"}, "id1: got category='3', wanted text"),
        ({"category": "plants"}, "id1: got category, wanted prompt (text)"),
        ([], "id1: got '[]', wanted an object"),
        ({"category": "logo", "prompt": "p"}, "there is no image"),
    ],
)
def test_a_wrong_entry_of_mjhq_is_named(entry: Any, message: str, mjhq: Path):
    content = json.loads(mjhq.read_text(encoding="utf-8"))
    mjhq.write_text(json.dumps({**content, "id1": entry}), encoding="utf-8")
    with pytest.raises(DataError, match=re.escape(message)):
        run("mjhq", data=mjhq, images=mjhq.parent / "mjhq", features=MEAN_COLOUR)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({}, ConfigError, "got no --data"),
        ({"data": "prompts.txt"}, ConfigError, "got no --images"),
        ({"data": "prompts.txt", "images": "real"}, ConfigError, "got no --features"),
        ({"data": "prompts.txt", "images": "none"}, DataError, "--images none: got no image"),
        ({"data": "gap.txt", "features": MEAN_COLOUR}, DataError, "gap.txt, line 2: got an empty"),
        (
            {"data": "tab.txt", "features": MEAN_COLOUR},
            DataError,
            "tab.txt, line 1: got values between tabs",
        ),
        (
            {"data": "one.txt", "features": MEAN_COLOUR, "images": "real"},
            DataError,
            "image: got 1 images to compare, wanted at least 2",
        ),
    ],
)
@pytest.mark.usefixtures("real", "prompts")
def test_what_does_not_fit_is_said_before_anything_is_drawn(
    options: dict[str, str],
    error: type[Exception],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    monkeypatch.chdir(tmp_path)
    for name, text in {"gap": "a\n\nb\n", "tab": "a\tb\n", "one": "a\n"}.items():
        Path(f"{name}.txt").write_text(text, encoding="utf-8")
    paths = {name: Path(options[name]) for name in options.keys() & {"data", "images"}}
    with pytest.raises(error, match=re.escape(message)):
        run("fid", **{**options, **paths})
