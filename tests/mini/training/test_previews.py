"""What the VAE and the tower show of themselves as they learn, on scenes they never learn from."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from tiny_recipes import tiny_recipes
from tiny_run import VAE
from toy_run import last_checkpoint

from janusflow.interop.vae import psnr
from janusflow.mini.scenes.render import render
from janusflow.mini.scenes.scene import composition, is_held_out
from janusflow.mini.training.previews import NUM_REBUILT, VaeSamples, held_out, retrieval
from janusflow.mini.training.sources import pixel_values
from janusflow.training.recipes import run_recipes

SIZE = 64


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes and a tokenizer."""
    root = tmp_path_factory.mktemp("parts")
    for name, tree in tiny_recipes(root).items():
        (root / f"{name}.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    for name in ("1-scenes", "2-tokenizer"):
        run_recipes(root / f"{name}.yaml")
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", ["3-vae", "4-siglip"])
def test_samples_and_trackers_change_nothing_that_is_learnt(root: Path, tmp_path: Path, name: str):
    pytest.importorskip("tensorboard")
    shown, silent = tmp_path / "shown", tmp_path / "silent"
    asked = ("log.samples_every=1", "log.to=[tensorboard]")
    run_recipes(root / f"{name}.yaml", (f"run={shown}", *asked))
    run_recipes(root / f"{name}.yaml", (f"run={silent}",))
    found, expected = last_checkpoint(shown), last_checkpoint(silent)
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.equal(found[key], value), key
    lines = [json.loads(line) for line in (shown / "samples.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]
    added = {path.name for path in shown.iterdir()} - {path.name for path in silent.iterdir()}
    if name == "3-vae":
        assert added == {"samples", "samples.jsonl", "tensorboard"}
        assert lines[1].keys() == {"step", "psnr", "sheet"}
        assert (shown / lines[1]["sheet"]).is_file()
    else:
        assert added == {"samples.jsonl", "tensorboard"}
        assert lines[1].keys() == {"step", "regions_named", "phrases_found", "by_chance"}


def test_held_out_scenes_are_no_training_compositions_and_always_the_same():
    scenes, images = held_out(5, size=SIZE)
    again, _ = held_out(3, size=SIZE)
    assert scenes[:3] == again
    assert all(is_held_out(composition(scene)) for scene in scenes)
    assert len({composition(scene) for scene in scenes}) > 1
    np.testing.assert_array_equal(images[4], np.asarray(render(scenes[4], size=SIZE)))


def test_a_sheet_shows_every_image_to_the_left_of_its_reconstruction():
    """A VAE that decodes everything to white."""
    torch.manual_seed(0)
    vae = AutoencoderKL(**VAE)
    with torch.no_grad():
        vae.decoder.conv_out.weight.zero_()
        assert vae.decoder.conv_out.bias is not None
        vae.decoder.conv_out.bias.fill_(1.0)
    hook = VaeSamples(
        lambda: AutoencoderKL(**VAE), pixel_values(held_out(NUM_REBUILT, size=SIZE)[1]), every=1
    )
    with torch.no_grad():
        sample = hook.sample(vae.state_dict())
    assert isinstance(sample.sheet, Image.Image)
    sheet = np.asarray(sample.sheet)
    _, images = held_out(16, size=SIZE)
    assert sheet.shape == (4 * SIZE, 4 * 2 * SIZE, 3)
    for number, image in enumerate(images):
        row, column = divmod(number, 4)
        y, x = row * SIZE, column * 2 * SIZE
        np.testing.assert_array_equal(sheet[y : y + SIZE, x : x + SIZE], image)
        assert (sheet[y : y + SIZE, x + SIZE : x + 2 * SIZE] == 255).all()
    white = torch.ones(16, 3, SIZE, SIZE)
    assert sample.numbers["psnr"] == pytest.approx(psnr(white, pixel_values(images)), rel=1e-4)


def test_psnr_is_that_of_the_clipped_image():
    """An error of a tenth of the range everywhere is 20 dB."""
    wanted = torch.full((1, 3, 2, 2), 0.8)
    assert psnr(torch.full((1, 3, 2, 2), 1.7), wanted) == pytest.approx(20.0, rel=1e-5)
    assert psnr(wanted - 0.2, wanted) == pytest.approx(20.0, rel=1e-5)


def test_retrieval_goes_by_the_mean_of_a_regions_patches_and_leaves_out_what_is_not_shown():
    """Regions 0 (patches 0 and 1) and 1 (patch 2) of three; phrase 2 is of the one not shown."""
    is_true = torch.tensor([[True, False, False], [True, True, False], [False, False, True]])
    logits = torch.tensor([[9.0, 0.0, 1.0], [-6.0, 2.0, 1.0], [2.0, 1.0, 0.5]])
    found = retrieval(logits, torch.tensor([0, 0, 1]), is_true)
    # Means of region 0: 1.5, 1, 1: phrase 0, which is true of it. Region 1: phrase 0, which is not.
    # Phrase 0 is nearest to region 1: wrong; phrase 1 to either: right.
    assert found == {"regions_named": 0.5, "phrases_found": 0.5, "by_chance": 0.5}
