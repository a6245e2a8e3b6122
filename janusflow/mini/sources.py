"""Training samples of `mini` from rendered scenes: pictures with questions, prompts, plain text."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from janusflow.config.errors import DataError
from janusflow.data.mixture import Draw, Kind
from janusflow.data.samples import GenerationSample, TextSample, Turn, UnderstandingSample
from janusflow.mini.captions import caption
from janusflow.mini.dataset import SceneFolder
from janusflow.mini.questions import ask_all
from janusflow.mini.scenes import sample_scene
from janusflow.mini.words import Language

MAX_TURNS = 16
INDEPENDENT_SHARE = 0.85
"""Of the pictures with questions; the others are one conversation of several turns."""


class SceneSources:
    """Draws samples of all three kinds from one folder of scenes and their latents."""

    def __init__(
        self,
        scenes: SceneFolder,
        latents: Path,
        *,
        scaling_factor: float,
        drawing_shares: Sequence[float] = (),
    ) -> None:
        if not latents.is_file():
            raise DataError(f"no latents at {latents}: run the recipe's VAE step first.")
        self.scenes = scenes
        self.drawing_shares = np.array(drawing_shares)
        self.by_count = scenes.by_count() if len(drawing_shares) else []
        for count, share in enumerate(drawing_shares, start=1):
            if share and (count > len(self.by_count) or not len(self.by_count[count - 1])):
                raise DataError(
                    f"drawing_shares={tuple(drawing_shares)}: no scene has {count} objects. "
                    "Set that share to 0 or leave it out."
                )
        self.latents = np.load(latents, mmap_mode="r")
        self.scaling_factor = scaling_factor
        if len(self.latents) != len(scenes):
            raise DataError(
                f"{latents} has {len(self.latents)} latents for {len(scenes)} scenes: run the "
                "recipe's VAE step again on these scenes."
            )

    def by_kind(self) -> Mapping[Kind, Draw]:
        """The draw functions the mixture asks for."""
        return {
            "understanding": self.understanding,
            "generation": self.generation,
            "text": self.text,
        }

    def understanding(self, rng: np.random.Generator) -> UnderstandingSample:
        """A scene and up to MAX_TURNS questions about it, in one language.

        Mostly each on its own: earlier questions and answers would give later answers away.
        """
        index = int(rng.integers(len(self.scenes)))
        asked = ask_all(self.scenes.scene(index), rng, language=_language(rng))
        chosen = rng.permutation(len(asked))[:MAX_TURNS].tolist()
        return UnderstandingSample(
            pixel_values=self._pixels(index),
            turns=tuple(Turn(question=asked[i].text, answer=asked[i].answer) for i in chosen),
            are_independent=bool(rng.random() < INDEPENDENT_SHARE),
        )

    def generation(self, rng: np.random.Generator) -> GenerationSample:
        """A caption, its scene's scaled latent and pixels."""
        index = self._draw_by_shares(rng)
        latent = torch.from_numpy(self.latents[index].astype(np.float32))
        return GenerationSample(
            prompt=caption(self.scenes.scene(index), rng, language=_language(rng)),
            latent=latent * self.scaling_factor,
            pixel_values=self._pixels(index),
            seed=int(rng.integers(2**63)),
        )

    def text(self, rng: np.random.Generator) -> TextSample:
        """Captions and answered questions of a scene nobody renders."""
        scene, language = sample_scene(rng), _language(rng)
        lines = [f"{q.text} {q.answer}" for q in ask_all(scene, rng, language=language)]
        return TextSample(text="\n".join([caption(scene, rng, language=language), *lines[:1]]))

    def _draw_by_shares(self, rng: np.random.Generator) -> int:
        """Pick a scene, first its number of objects if shares are given."""
        if not self.by_count:
            return int(rng.integers(len(self.scenes)))
        shares = self.drawing_shares / self.drawing_shares.sum()
        return int(rng.choice(self.by_count[rng.choice(len(shares), p=shares)]))

    def _pixels(self, index: int) -> Float[Tensor, "c y x"]:
        return pixel_values(self.scenes.pictures[index][None])[0]


def pixel_values(pictures: np.ndarray) -> Float[Tensor, "n c y x"]:
    """Turn uint8 pictures [n, row, column, rgb] into values in [-1, 1]."""
    pixels = torch.from_numpy(pictures.astype(np.float32)) / 127.5 - 1.0
    return pixels.permute(0, 3, 1, 2).contiguous()


def _language(rng: np.random.Generator) -> Language:
    return "en" if rng.random() < 0.5 else "ko"
