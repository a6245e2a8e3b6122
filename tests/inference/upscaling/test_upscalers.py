"""Words to larger images: sizes, records, packages made up here, refusals."""

import zipfile
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch
from ncnn_files import compact, write_compact
from PIL import Image

from janusflow.config.errors import CheckpointError, ConfigError, DataError
from janusflow.config.upscaling import Upscaling
from janusflow.inference.batching.scheduler import StepScheduler
from janusflow.inference.drawing.interpolation import interpolate
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.pipeline import JanusFlow
from janusflow.inference.upscaling import realesrgan
from janusflow.inference.upscaling.realesrgan import FOLDER, enlarged, read_network
from janusflow.inference.upscaling.upscalers import make_upscaler

CPU = torch.device("cpu")
NOISE = Image.effect_noise((20, 12), 80).convert("RGB")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with a tiny network of factor 4, where a fetched one would be."""
    folder = tmp_path / "janusflow"
    folder.mkdir()
    file = folder / realesrgan.PACKAGE.file_name
    writer = write_compact(compact(factor=4), factor=4)
    with zipfile.ZipFile(file, "w") as archive:
        for factor in (2, 4):
            name = f"{FOLDER}/REALESRGAN_ANIMAVIDEOV3_UP{factor}X"
            archive.writestr(f"{name}.param", writer.parameters)
            archive.writestr(f"{name}.bin", writer.weights)
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


def test_a_network_reads_and_gives_levels_from_0_to_255(package: Path):
    """Pixels as fractions go in and come out: by hand, without tiles."""
    network = read_network(package, Upscaling("realesrgan", 4))
    pixels = torch.from_numpy(np.asarray(NOISE, np.float32)).permute(2, 0, 1)[None] / 255
    with torch.no_grad():
        levels = (network(pixels)[0].clamp(0, 1) * 255).round().permute(1, 2, 0).numpy()
    whole = enlarged(NOISE, network, device=CPU)
    assert np.array_equal(np.asarray(whole), levels)
    tiled = enlarged(NOISE, network, device=CPU, tile=5)
    assert np.abs(np.asarray(tiled).astype(int) - levels).max() <= 1


def test_a_package_that_is_not_the_one_meant_is_refused(package: Path, jf: JanusFlow):
    """Before anything is drawn."""
    with package.open("ab") as file:
        file.write(b"0")
    with pytest.raises(DataError, match="delete it and fetch it again"):
        jf.generate("x", steps=1, upscale="realesrgan:4", on_step=lambda _: pytest.fail("drawn"))


def test_a_package_without_the_network_is_refused(package: Path):
    with pytest.raises(CheckpointError, match=r"no readable .*X4PLUS_UP4X"):
        read_network(package, Upscaling("realesrgan-x4plus", 4))
    with pytest.raises(CheckpointError, match="4 times as large, wanted 2"):
        read_network(package, Upscaling("realesrgan", 2))


def test_what_keeps_its_size_refuses_it(jf: JanusFlow):
    settings = DrawingSettings(upscale="lanczos:2", steps=1)
    with pytest.raises(ConfigError, match="upscale=lanczos:2"):
        interpolate(jf, ("a", "b"), (1, 1), settings=settings)
    with pytest.raises(ConfigError, match="upscale=lanczos:2: a scheduler"):
        StepScheduler(jf).submit_drawing("a", settings=settings)
