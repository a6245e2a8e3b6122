"""Feature networks: which file is accepted, how it is called, and what images become before."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
from image_networks import Layered, MeanColour, save_script
from PIL import Image

from janusflow.config.errors import CheckpointError, ConfigError, DataError, NotFiniteError
from janusflow.evaluation.drawing import features
from janusflow.evaluation.drawing.features import as_input, images_in, load_features


def speckled(seed: int, width: int = 20, height: int = 12) -> Image.Image:
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_another_file_than_fids_own_is_refused_with_both_digests(tmp_path: Path):
    path = save_script(MeanColour(), tmp_path / "other.pt")
    with pytest.raises(CheckpointError) as refused:
        load_features(str(path))
    message = str(refused.value)
    assert f"got SHA-256 {digest(path)}, wanted {features.INCEPTION_SHA256}" in message
    assert f"--features-sha256 {digest(path)}" in message


def test_the_file_whose_digest_is_said_is_accepted_and_called_as_it_is(tmp_path: Path):
    path = save_script(MeanColour(), tmp_path / "other.pt")
    network = load_features(str(path), sha256=digest(path).upper())
    assert network.name == f"SHA-256 {digest(path)[:16]}"
    assert network.size == 8
    image = torch.full((2, 3, 8, 8), 200.0)
    assert torch.equal(network.network(image), torch.full((2, 3), 200.0))
    with pytest.raises(CheckpointError, match="wanted 0123"):
        load_features(str(path), sha256="0123")


def test_fids_own_file_is_called_by_its_layers_on_values_around_0(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = save_script(Layered(), tmp_path / "inception-2015-12-05.pt")
    monkeypatch.setattr(features, "INCEPTION_SHA256", digest(path))
    network = load_features(str(path))
    assert network.size == 299
    found = network.network(torch.full((2, 3, 299, 299), 192.0))
    assert torch.equal(found, torch.full((2, 3), 0.5))


def test_what_is_no_torchscript_or_no_network_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    path = tmp_path / "words.pt"
    path.write_text("words", encoding="utf-8")
    with pytest.raises(CheckpointError, match=r"words\.pt: got no TorchScript"):
        load_features(str(path), sha256=digest(path))
    with pytest.raises(DataError, match=r"nosuch\.pt cannot be read"):
        load_features(str(tmp_path / "nosuch.pt"))
    with pytest.raises(ConfigError, match="--features nosuch:network: No module"):
        load_features("nosuch:network")
    with pytest.raises(ConfigError, match="got a dict, wanted a Module"):
        load_features("builtins:dict")


def test_all_of_an_image_is_resized_as_clean_fid_does_and_nothing_is_cropped():
    """cleanfid/resize.py: Image.fromarray(channel, "F").resize(size, BICUBIC) of each channel."""
    wide = speckled(0, 20, 12)
    wanted = [
        np.asarray(Image.fromarray(channel).resize((7, 7), Image.Resampling.BICUBIC))
        for channel in np.asarray(wide).transpose(2, 0, 1).astype(np.float32)
    ]
    assert torch.equal(as_input(wide, size=7), torch.from_numpy(np.stack(wanted)))
    edges = Image.new("RGB", (20, 12), "black")
    edges.paste((200, 200, 200), (0, 0, 4, 12))  # outside of the centre square
    assert as_input(edges, size=7).max() > 100
    square = speckled(0, 12, 12)
    same = torch.from_numpy(np.array(square)).permute(2, 0, 1).float()
    assert torch.equal(as_input(square, size=12), same)


def test_resizing_keeps_what_rounding_would_lose():
    """As clean-fid does: Pillow's bicubic filter without going through 8 bits."""
    found = as_input(speckled(0, 12, 12), size=5)
    assert (found != found.round()).any()
    rounded = as_input(speckled(0, 12, 12).resize((5, 5), Image.Resampling.BICUBIC), size=5)
    assert (found.clamp(0, 255) - rounded).abs().max() <= 1.0


def test_a_resolution_in_between_takes_the_centre_square_as_gigagans_evaluation_does():
    wide = speckled(0, 20, 12)
    small = wide.crop((4, 0, 16, 12)).resize((4, 4), Image.Resampling.LANCZOS)
    assert torch.equal(as_input(wide, size=9, resolution=4), as_input(small, size=9))


def test_features_that_are_not_finite_are_told_with_their_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name, colour in {"a": "red", "b": "blue"}.items():
        Image.new("RGB", (8, 8), colour).save(tmp_path / f"{name}.png")
    network = load_features("image_networks:MeanColour")
    # What red is divided by is 0 for the blue one.
    monkeypatch.setattr(
        network.network, "forward", lambda images: images.mean((2, 3)) / images.mean((2, 3))[:, :1]
    )
    with pytest.raises(NotFiniteError, match=r"features of .*b\.png that are not finite"):
        network.features(images_in(tmp_path), resolution=None, called="test")


def test_features_do_not_depend_on_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for index in range(5):
        speckled(index).save(tmp_path / f"{index}.png")
    network, files = load_features("image_networks:MeanColour"), images_in(tmp_path)
    found = []
    for size in (1, 2, 5):
        monkeypatch.setattr(features, "BATCH_SIZE", size)
        found.append(network.features(files, resolution=None, called="test"))
    assert found[0].shape == (5, 3)
    assert all(np.allclose(each, found[0]) for each in found)
    assert np.allclose(found[0][3], as_input(speckled(3), size=8).mean((1, 2)))


def test_a_folders_images_are_found_by_name_wherever_they_lie(tmp_path: Path):
    (tmp_path / "b").mkdir()
    for name in ("c.png", "b/a.JPG", "a.webp"):
        speckled(0).save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    found = [path.relative_to(tmp_path).as_posix() for path in images_in(tmp_path)]
    assert found == ["a.webp", "b/a.JPG", "c.png"]
    with pytest.raises(DataError, match=r"--images .*nosuch: got no image"):
        images_in(tmp_path / "nosuch")
