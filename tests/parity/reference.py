"""A folder of reference tensors, and the model whose weights its recipe makes.

Everything that a folder decides (seed, configuration, texts, cases) is read from the folder.
"""

import importlib.util
import json
import os
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from janusflow.interop.conversion import official_shapes, shapes_of
from janusflow.interop.load import StoredWeights, fill, on_meta
from janusflow.interop.release_config import config_from_official
from janusflow.interop.tokens import TokenIds
from janusflow.model.modeling import JanusFlowForConditionalGeneration

REPOSITORY = Path(__file__).resolve().parents[2]


def reference_folder() -> Path:
    named = os.environ.get("JANUSFLOW_REFERENCE")
    return Path(named) if named else REPOSITORY.parent / "shared" / "reference"


class Reference:
    """The folder's files, parsed once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.meta: dict[str, Any] = self.json("meta.json")
        self.seed: int = self.meta["seed"]
        self._tensors: dict[str, dict[str, Tensor]] = {}

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def tensors(self, name: str) -> dict[str, Tensor]:
        if name not in self._tensors:
            self._tensors[name] = load_file(self.folder / f"{name}.safetensors")
        return self._tensors[name]

    @cached_property
    def recipe(self) -> Any:
        spec = importlib.util.spec_from_file_location("recipe", self.folder / "recipe.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    def array(self, name: str, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(self.recipe.array(name, shape, self.seed))

    def weight(self, key: str, shape: tuple[int, ...]) -> Tensor:
        return torch.from_numpy(self.recipe.weight(key, shape, self.seed))

    def image(self, name: str) -> Image.Image:
        sizes = {entry[0]: entry[1:] for entry in self.recipe.IMAGES}
        return Image.fromarray(self.recipe.image(name, *sizes[name], self.seed))

    @cached_property
    def tiny_token_ids(self) -> TokenIds:
        ids = self.meta["tiny_tokenizer"]["specials"]
        return {
            "bos_token_id": ids["<｜begin▁of▁sentence｜>"],
            "eos_token_id": ids["<｜end▁of▁sentence｜>"],
            "pad_token_id": ids["<｜▁pad▁｜>"],
            "image_token_id": ids["<image_placeholder>"],
            "image_start_token_id": ids["<begin_of_image>"],
            "image_end_token_id": ids["<end_of_image>"],
        }

    def small_settings(self, **tower: Any) -> dict[str, Any]:
        """The small model's config.json; `tower` replaces parameters of the understanding tower."""
        settings = json.loads(json.dumps(self.meta["small_config"]))
        settings["vision_und_enc_config"]["params"].update(tower)
        return settings

    def without_weights(
        self, settings: dict[str, Any], token_ids: TokenIds
    ) -> JanusFlowForConditionalGeneration:
        return on_meta(config_from_official(settings, token_ids=token_ids))

    def model(
        self, settings: dict[str, Any], token_ids: TokenIds
    ) -> JanusFlowForConditionalGeneration:
        """A model whose weights went through the conversion from the release's names."""
        model = self.without_weights(settings, token_ids)
        recipe = RecipeWeights(self, model)
        weights = StoredWeights(recipe.shapes, recipe.read)
        fill(model, weights.read(weights.names))
        return model

    @cached_property
    def small(self) -> JanusFlowForConditionalGeneration:
        return self.model(self.small_settings(), self.tiny_token_ids)


class RecipeWeights:
    """The recipe's weights under the release's names, each made when it is asked for."""

    def __init__(self, reference: Reference, model: JanusFlowForConditionalGeneration) -> None:
        self.reference = reference
        self.shapes = official_shapes(shapes_of(model))

    def read(self, name: str) -> Tensor:
        return self.reference.weight(name, self.shapes[name])
