"""The release's sizes without its files, against its own config.json and list of weights."""

import json
from math import prod
from pathlib import Path

from janusflow.config.model import RepaConfig
from janusflow.interop.conversion import official_shapes, shapes_of
from janusflow.interop.load import on_meta
from janusflow.interop.release import release_config, vae_on_meta
from janusflow.interop.release_config import config_from_official


def test_the_built_in_sizes_are_those_of_the_releases_config(reference: Path):
    settings = json.loads((reference / "official_config.json").read_text(encoding="utf-8"))
    wanted = config_from_official(settings, token_ids={}).to_dict()
    found = release_config().to_dict()
    assert wanted.pop("official") == settings
    assert found.pop("official") is None
    assert found == wanted


def test_every_weight_of_the_release_has_its_shape(reference: Path):
    listed = json.loads((reference / "official_state_dict.json").read_text(encoding="utf-8"))
    config = release_config()
    found = official_shapes(shapes_of(on_meta(config)))
    assert found == {name: tuple(shape) for name, (shape, _) in listed.items()}
    assert sum(map(prod, found.values())) == 2_046_367_504


def test_a_repa_head_is_added_on_demand_only():
    assert release_config().repa is None
    assert release_config(repa=RepaConfig(block=6)).repa == RepaConfig(block=6, hidden_size=2048)


def test_the_vae_has_sdxls_number_of_parameters_and_none_in_memory():
    parameters = list(vae_on_meta().parameters())
    assert sum(each.numel() for each in parameters) == 83_653_863
    assert all(each.is_meta for each in parameters)
