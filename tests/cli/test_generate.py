"""`janusflow generate`: files, records, JSON, refusals."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from PIL import Image

from janusflow.cli.generate import numbered
from janusflow.inference.drawing import generation
from janusflow.inference.drawing.metadata import DrawingRecord, read_record
from janusflow.inference.pipeline import JanusFlow

Run = Callable[..., Result]


def test_one_prompt_writes_one_file_with_its_record(run: Run, tiny_folder: Path):
    result = run(
        "generate", "빨간 원", "-m", tiny_folder, "--steps", 2, "--seed", 7, "-o", "new/out.png"
    )
    assert result.exit_code == 0, result.output
    assert result.stdout == "new/out.png  (seed 7)\n"
    record = read_record(Path("new/out.png"))
    assert record is not None
    assert (record.prompt, record.seed, record.steps) == ("빨간 원", 7, 2)


def test_several_images_are_numbered_and_described_as_json(run: Run, tiny_folder: Path):
    result = run(
        "generate", "one", "two", "-n", 2, "-m", tiny_folder, "--steps", 1, "--seed", 3, "--json"
    )
    report = json.loads(result.stdout)
    assert [(p["path"], p["prompt"], p["seed"]) for p in report["images"]] == [
        ("out-1.png", "one", 3),
        ("out-2.png", "one", 4),
        ("out-3.png", "two", 5),
        ("out-4.png", "two", 6),
    ]
    assert all(Path(p["path"]).is_file() for p in report["images"])
    assert report["seconds"] > 0


def test_a_broken_off_call_leaves_the_images_drawn_so_far(
    run: Run, tiny_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    decode = generation.decode_records

    def stop(jf: JanusFlow, records: Sequence[DrawingRecord], *rest: Any) -> Any:
        if records[0].seed == 5:  # the third
            raise KeyboardInterrupt
        return decode(jf, records, *rest)

    monkeypatch.setattr(generation, "decode_records", stop)
    given = ("-m", tiny_folder, "-n", 4, "--steps", 1, "--seed", 3, "--batch-size", 1)
    assert run("generate", "one", *given).exit_code != 0
    assert sorted(path.name for path in Path().glob("out*")) == ["out-1.png", "out-2.png"]
    record = read_record(Path("out-2.png"))
    assert record is not None
    assert record.seed == 4


def test_the_extension_decides_the_format(run: Run, tiny_folder: Path):
    for name in ("a.png", "b.webp", "c.jpg"):
        common = ("-m", tiny_folder, "--steps", 1, "--seed", 1, "--quiet")
        assert run("generate", "x", *common, "-o", name).exit_code == 0
        assert Path(name).read_bytes()[:4] in (b"\x89PNG", b"RIFF", b"\xff\xd8\xff\xe0")
        with Image.open(name) as image:
            assert (image.size, image.mode) == ((64, 64), "RGB")


def test_drawing_starts_from_an_image_if_one_is_given(run: Run, tiny_folder: Path):
    Image.new("RGB", (80, 60), "green").save("start.png")
    common = ("generate", "x", "-m", tiny_folder, "--steps", 2, "--seed", 1, "-o")
    run(*common, "free.png")
    run(*common, "near.png", "--init-image", "start.png", "--strength", 0.2)
    assert Path("free.png").read_bytes() != Path("near.png").read_bytes()
    record = read_record(Path("near.png"))
    assert record is not None
    assert record.strength == 0.2


def test_what_steers_the_sampler_is_kept_with_the_image(run: Run, tiny_folder: Path):
    steering = ("--guidance", "3@0.2-0.7", "--guidance-rescale", 0.5)
    cheaper = ("--grid", "cosine", "--reuse", 0.1)
    result = run("generate", "x", "-m", tiny_folder, "--steps", 4, *steering, *cheaper)
    assert result.exit_code == 0, result.output
    record = read_record(Path("out.png"))
    assert record is not None
    assert (record.guidance, record.guidance_rescale) == ("3@0.2-0.7", 0.5)
    assert (record.grid, record.reuse) == ("cosine", 0.1)


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        (("generate",), 2, "PROMPT"),
        (("generate", "x", "-o", "out.gif"), 2, "no image format"),
        (("generate", "x", "--solver", "magic"), 2, "magic"),
        (("generate", "x", "--steps", "0"), 2, "steps"),
        (("generate", "x", "--guidance", "3@0.6"), 2, "3@0.6"),
        (("generate", "x", "--grid", "magic"), 2, "magic"),
        (("generate", "x", "--reuse", "2"), 2, "reuse"),
        (("generate", "x", "-m", "./nowhere"), 1, "nowhere"),
        (("generate", "x", "--device", "toaster"), 1, "toaster"),
        (("generate", "x", "--dtype", "float8"), 1, "float8"),
    ],
)
def test_mistakes_are_refused_without_a_traceback(
    run: Run, arguments: tuple[str, ...], code: int, reason: str
):
    result = run(*arguments)
    assert result.exit_code == code
    assert reason in result.stderr
    assert "Traceback" not in result.output
    if code == 1:
        assert result.stderr.count("\n") == 1


def test_a_strength_without_an_image_is_refused(run: Run, tiny_folder: Path):
    result = run("generate", "x", "-m", tiny_folder, "--strength", 0.5)
    assert result.exit_code == 1
    assert "init_image" in result.stderr
    assert not Path("out.png").exists()


def test_numbers_have_one_width_so_that_files_sort():
    assert numbered(Path("a/b.png"), 1) == [Path("a/b.png")]
    assert numbered(Path("a/b.png"), 10)[::9] == [Path("a/b-01.png"), Path("a/b-10.png")]


def test_outpainting_keeps_the_image_smaller(run: Run, tiny_folder: Path):
    Image.effect_noise((32, 32), 80).convert("RGB").save("small.png")
    common = ("generate", "x", "-m", tiny_folder, "--steps", 1, "--seed", 1)
    result = run(*common, "--init-image", "small.png", "--outpaint", "32,0,0,32")
    assert result.exit_code == 0, result.output
    with Image.open("out.png") as drawn, Image.open("small.png") as small:
        assert drawn.crop((32, 0, 64, 32)).tobytes() == small.tobytes()
    alone = run(*common, "--outpaint", "32,0,0,32")
    assert (alone.exit_code, "--outpaint goes with --init-image" in alone.stderr) == (2, True)


def test_inversion_reads_what_is_shown(run: Run, tiny_folder: Path):
    Image.effect_noise((64, 64), 80).convert("RGB").save("start.png")
    common = ("generate", "x", "-m", tiny_folder, "--steps", 2, "--init-image", "start.png", "-o")
    for name, shown in (("a.png", "a star"), ("b.png", "")):
        assert run(*common, name, "--invert", shown).exit_code == 0
    assert Path("a.png").read_bytes() != Path("b.png").read_bytes()
    assert "num_images=2" in run(*common, "c.png", "--invert", "", "-n", 2).stderr


@pytest.mark.parametrize("size", ["128x64", "64x128", "128x128", "64", "large"])
def test_sizes_that_no_training_saw_are_refused_before_anything_is_drawn(
    run: Run, tiny_folder: Path, size: str
):
    common = ("generate", "x", "-m", tiny_folder, "--steps", 1)
    refused = run(*common, "--size", size)
    assert refused.exit_code == 1
    assert f"size={size}: this model draws 64x64" in refused.stderr
    assert not Path("out.png").exists()
    assert run(*common, "--size", "64x64").exit_code == 0
