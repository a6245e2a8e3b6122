"""`janusflow interpolate`: numbered images, a moving one, refusals."""

from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from PIL import Image

Run = Callable[..., Result]


def test_images_are_numbered(run: Run, tiny_folder: Path):
    common = ("interpolate", "one", "two", "-m", tiny_folder, "--steps", 1, "--frames", 3)
    result = run(*common, "--seed", 7, "-o", "new/way.png")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == [
        *(f"new/way-{i}.png" for i in (1, 2, 3)),
        "(from seed 7)",
    ]
    assert len({path.read_bytes() for path in Path("new").iterdir()}) == 3


def test_a_gif_moves_through_all_of_them(run: Run, tiny_folder: Path):
    common = ("interpolate", "one", "-m", tiny_folder, "--steps", 1, "--frames", 4)
    result = run(*common, "--seed", 1, "--to-seed", 2, "-o", "new/way.gif")
    assert result.exit_code == 0, result.output
    with Image.open("new/way.gif") as way:
        assert (way.n_frames, way.size) == (4, (64, 64))


def test_mistakes_are_refused_in_one_line(run: Run, tiny_folder: Path):
    nowhere = run("interpolate", "one", "-m", tiny_folder)
    assert (nowhere.exit_code, "to the same" in nowhere.stderr) == (1, True)
    Path("file").touch()
    common = ("interpolate", "one", "two", "-m", tiny_folder, "--steps", 1, "--frames", 2)
    blocked = run(*common, "-o", "file/way.gif")
    assert (blocked.exit_code, "cannot be written" in blocked.stderr) == (1, True)
    wrong = run("interpolate", "one", "two", "-o", "way.txt")
    assert (wrong.exit_code, "no image format" in wrong.stderr) == (1, True)
