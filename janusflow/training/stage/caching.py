"""Compute what frozen parts make of images once, and train from it.

What may be kept follows from the recipe: latents of images to draw always, because the VAE never
trains; the tower's features, of images to understand and of images to draw for an alignment,
while the tower is frozen. Each store's folder is named by a hash of all that its values depend on:
weights, sizes, normalisation, crops, precision. Values of another model are never found.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from jaxtyping import Float
from torch import Tensor, nn
from tqdm import tqdm

from janusflow.config.errors import ConfigError
from janusflow.config.recipes import StageRecipe
from janusflow.data.batches.mixture import Kind, sources_by_kind
from janusflow.data.cache import ImageCache, Store, image_key
from janusflow.data.prepare import Preparation, preparation
from janusflow.data.sources.base import BAD_ROW_ERRORS
from janusflow.data.sources.formats import LAYOUTS, TableSource, open_source
from janusflow.interop.vae import encode_images
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.image_files import ImageInput, open_image
from janusflow.training.engine.distributed import (
    all_reduce_sum,
    device,
    is_main_process,
    num_processes,
    process_group,
    rank,
)
from janusflow.training.stage.build_model import (
    DTYPES,
    encoding_vae,
    load_processor_and_vae,
    start_model,
)
from janusflow.training.stage.freezing import trains_tower

Name = Literal["understanding_features", "latents", "generation_features"]
BATCH = 16
"""Images, or crops of one, that go through the VAE or the tower at a time."""
SHARD_BYTES = 2**26


def cached(recipe: StageRecipe, config: JanusFlowConfig) -> tuple[Name, ...]:
    """What a stage takes from a cache."""
    data, tower_trains = recipe.data, trains_tower(recipe)
    has: dict[Name, bool] = {
        "understanding_features": bool(data.understanding)
        and not tower_trains
        and not config.uses_latent_input,
        "latents": bool(data.generation),
        "generation_features": bool(data.generation)
        and not tower_trains
        and recipe.objective.uses_head,
    }
    return tuple(name for name, is_cached in has.items() if is_cached)


def keeps_pixels(recipe: StageRecipe, names: Sequence[Name]) -> bool:
    """Whether pixels of images to draw are needed too: for a tower that trains, or a scorer."""
    return recipe.objective.aligns and "generation_features" not in names


def fill_cache(recipe: StageRecipe) -> "Filled":
    """Compute what a recipe's cache still lacks, alone or as one of torchrun's processes.

    Raises:
        ConfigError: the recipe names no cache, or has a source of no files.
        CheckpointError: a model is missing, or a part of the cache is damaged.
    """
    if recipe.data.cache is None:
        raise ConfigError(
            f"{recipe.run}: data.cache=null: name the folder, e.g. data.cache=cache data.crops=1."
        )
    with process_group():
        processor, vae = load_processor_and_vae(recipe)
        model = start_model(recipe, processor).eval()
        nn.Module.to(model, device())
        vae = encoding_vae(vae, recipe.vae_encoding)
        nn.Module.to(vae, device())
        prepare = preparation(processor, model.config, vae, crops=recipe.data.crops)
        return Cache(recipe, model, vae, prepare).fill()


class Values(NamedTuple):
    """What a store keeps: where, and how it is computed."""

    folder: Path
    compute: Callable[[Float[Tensor, "n c y x"]], Tensor]


class Cache:
    """The stores of a recipe that names `data.cache`.

    Raises:
        ConfigError: a source makes its own tensors, so that there is nothing to keep.
    """

    def __init__(
        self,
        recipe: StageRecipe,
        model: JanusFlowForConditionalGeneration,
        vae: AutoencoderKL,
        prepare: Preparation,
    ) -> None:
        assert recipe.data.cache is not None
        self.recipe, self.folder, self.prepare = recipe, recipe.data.cache, prepare
        for source in (*recipe.data.understanding, *recipe.data.generation):
            if source.format not in LAYOUTS or source.options.get("streaming"):
                raise ConfigError(
                    f"data.cache={self.folder} with {source.path} (format {source.format}): a "
                    "cache is of image files at hand, which are neither streamed nor rendered. "
                    "Leave data.cache out."
                )
        self._tower = cache(lambda: fingerprint(model.understanding_encoder))
        names = cached(recipe, model.config)
        self.values: dict[Name, Values] = {n: self._values(n, model, vae) for n in names}

    def _values(
        self, name: Name, model: JanusFlowForConditionalGeneration, vae: AutoencoderKL
    ) -> Values:
        depends: dict[str, Any] = {"size": self.prepare.drawing_size, "crops": self.prepare.crops}
        if name == "latents":
            depends |= {"vae": fingerprint(vae), "scaling": str(vae.config["scaling_factor"])}
            depends["shift"] = str(vae.config.get("shift_factor"))
        else:
            if name == "understanding_features":
                depends = {"images": self.prepare.image_processor.to_dict(), "crops": 1}
            depends |= {"tower": self._tower(), "precision": self.recipe.data.cached_features}
        text = json.dumps(depends, sort_keys=True)
        folder = self.folder / f"{name}-{blake2b(text.encode(), digest_size=8).hexdigest()}"
        if name == "latents":
            return Values(folder, lambda pixels: encode_images(vae, pixels))
        dtype = DTYPES[depends["precision"]]
        return Values(folder, lambda pixels: model.understanding_features(pixels).to(dtype))

    def preparation(self) -> Preparation:
        """Images from the cache, for training.

        Raises:
            ConfigError: nothing was computed for this recipe.
        """
        missing = [name for name, each in self.values.items() if not each.folder.is_dir()]
        if missing:
            raise ConfigError(
                f"data.cache={self.folder} has no {', '.join(missing)} of this recipe's models and "
                "sizes: run `janusflow data cache` with this recipe, or leave data.cache out."
            )
        stores: dict[str, Any] = {n: Store(each.folder) for n, each in self.values.items()}
        wanted = keeps_pixels(self.recipe, list(self.values))
        return replace(self.prepare, cache=ImageCache(**stores, keeps_pixels=wanted))

    @torch.no_grad()
    def fill(self) -> "Filled":
        """Compute what is not there yet; what was done before an interruption stays.

        Several processes share the images out, and each writes shards of its own.
        """
        filling: dict[Name, Filling] = {n: Filling(each) for n, each in self.values.items()}
        bad: list[str] = []
        for kind, source in self._sources():
            of_kind = [
                each
                for name, each in filling.items()
                if (name == "understanding_features") == (kind == "understanding")
            ]
            for row in tqdm(range(len(source)), desc=source.name, disable=not is_main_process()):
                is_mine = is_main_process()  # what no process can read, the first tells of
                try:
                    for image in source.images(row):
                        key = image_key(image)
                        is_mine = key % num_processes() == rank()
                        lacking = [each for each in of_kind if is_mine and key not in each]
                        pixels = self._squares(kind, image) if lacking else torch.empty(0, 0, 0, 0)
                        for each in lacking:
                            each.add(key, pixels)
                except BAD_ROW_ERRORS as error:
                    if is_mine:
                        bad.append(f"row {row} of {source.name}: {error}")
        for each in filling.values():
            each.finish()
        added = all_reduce_sum(torch.tensor([each.num_added for each in filling.values()]))
        folders: dict[Name, Path] = {name: each.folder for name, each in self.values.items()}
        return Filled(folders, dict(zip(filling, added.tolist(), strict=True)), bad)

    def _sources(self) -> Iterator[tuple[Kind, TableSource]]:
        """Every source with images."""
        for kind, configs in sources_by_kind(self.recipe.data).items():
            for config in configs if kind != "text" else ():
                for source, _ in open_source(kind, config, self.prepare):
                    assert isinstance(source, TableSource)
                    yield kind, source

    def _squares(self, kind: Kind, image: ImageInput) -> Float[Tensor, "k c y x"]:
        """What the parts are shown of an image: all of it, or each of its crops."""
        opened = open_image(image)
        if kind == "understanding":
            return self.prepare.for_understanding(opened)[None]
        crops = [self.prepare.crop(opened, n) for n in range(self.prepare.crops or 0)]
        return torch.stack([crop.pixel_values for crop in crops if crop.pixel_values is not None])


class Filled(NamedTuple):
    """What was done to fill a cache."""

    folders: dict[Name, Path]
    num_added: dict[Name, int]
    """Images that all processes computed, by store."""
    bad: list[str]
    """Rows of which this process found that they make no sample, and why."""


class Filling:
    """A store, and the images that are on their way into it."""

    def __init__(self, values: Values) -> None:
        self.store, self.compute, self.num_added = Store(values.folder), values.compute, 0
        self._new: set[int] = set()
        self._waiting: list[tuple[int, Float[Tensor, "k c y x"]]] = []
        self._computed: list[tuple[int, Tensor]] = []

    def __contains__(self, key: int) -> bool:
        return key in self._new or key in self.store

    def add(self, key: int, pixels: Float[Tensor, "k c y x"]) -> None:
        """Take an image's squares; batches are computed, and shards written, as they fill up."""
        self._new.add(key)
        self._waiting.append((key, pixels))
        if len(self._waiting) * len(pixels) >= BATCH:
            self._compute()
        if sum(values.nbytes for _, values in self._computed) >= SHARD_BYTES:
            self._write()

    def finish(self) -> None:
        """Compute and write what is left."""
        if self._waiting:
            self._compute()
        if self._computed:
            self._write()

    def _compute(self) -> None:
        keys, squares = zip(*self._waiting, strict=True)
        values = self.compute(torch.cat(squares).to(device())).cpu()
        self._computed += zip(keys, values.unflatten(0, (len(keys), -1)), strict=True)
        self._waiting = []

    def _write(self) -> None:
        keys, values = zip(*self._computed, strict=True)
        self.store.add(torch.tensor(keys), torch.stack(values))
        self.num_added += len(keys)
        self._computed = []


def fingerprint(module: nn.Module) -> str:
    """A hash of a module's weights, as float32."""
    digest = blake2b(digest_size=16)
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
