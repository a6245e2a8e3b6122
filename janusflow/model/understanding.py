"""Images to understand: from pixels to embeddings at their positions among the tokens."""

from typing import TYPE_CHECKING, Any, cast

import torch
from einops import rearrange
from jaxtyping import Float, Int
from torch import Tensor, nn
from transformers import SiglipVisionModel
from transformers.utils.import_utils import is_tracing

from janusflow.config.errors import PromptError
from janusflow.model.attention import NO_IMAGE, number_images
from janusflow.model.configuration import JanusFlowConfig
from janusflow.model.generation import GenerationEncoder


class Understanding:
    """The model's methods for images to understand; the model has the parts named here."""

    config: JanusFlowConfig
    llm: Any
    understanding_encoder: SiglipVisionModel
    understanding_aligner: nn.Linear
    generation_encoder: GenerationEncoder
    latent_encoder: GenerationEncoder | None
    begin_of_understanding: nn.Parameter

    if TYPE_CHECKING:
        dtype: Any

    def understanding_features(
        self, pixel_values: Float[Tensor, "n c y x"]
    ) -> Float[Tensor, "n p w"]:
        """Patch features of the tower, after its final norm; REPA's target too."""
        return self.understanding_encoder(pixel_values.to(self.dtype)).last_hidden_state

    def image_features(self, pixel_values: Float[Tensor, "n c y x"]) -> Float[Tensor, "n p w"]:
        """Patch features of images to understand, before the aligner: the tower's.

        With `config.uses_latent_input` these are latents instead of pixels, encoded at time 1.
        """
        if not self.config.uses_latent_input:
            return self.understanding_features(pixel_values)
        encoder = self.latent_encoder or self.generation_encoder
        encoded = encoder(pixel_values.to(self.dtype), pixel_values.new_ones(pixel_values.shape[0]))
        return rearrange(encoded.features, "n w y x -> n (y x) w")

    def embed_images(self, features: Float[Tensor, "n p w"]) -> Float[Tensor, "n q d"]:
        """Embed image features: `begin_of_understanding`, then one embedding a patch."""
        patches = self.understanding_aligner(features.to(self.dtype))
        begin = self.begin_of_understanding.expand(patches.shape[0], 1, -1)
        return torch.cat([begin, patches], dim=1)

    def embed_conversation(
        self,
        token_ids: Int[Tensor, "b t"],
        pixel_values: Float[Tensor, "n c y x"] | None = None,
        *,
        features: Float[Tensor, "n p w"] | None = None,
        embeds: Float[Tensor, "b t d"] | None = None,
    ) -> Float[Tensor, "b t d"]:
        """Embed tokens, with images in reading order at their start tags and placeholders.

        Args:
            token_ids: start tags and placeholders say where the images are.
            pixel_values: images to understand.
            features: their `image_features` instead, where these are known already.
            embeds: of the tokens, where they are embedded already.

        Raises:
            PromptError: another number of image embeddings than positions for them.
        """
        words: Tensor = self.llm.get_input_embeddings()(token_ids) if embeds is None else embeds
        is_image = token_ids == self.config.image_token_id
        is_image = is_image | (token_ids == self.config.image_start_token_id)
        if pixel_values is not None:
            features = self.image_features(pixel_values)
        images = None if features is None else self.embed_images(features).flatten(0, 1)
        if not (token_ids.is_meta or is_tracing(token_ids)):  # the number of positions is data
            got, wanted = 0 if images is None else len(images), int(is_image.sum())
            if got != wanted:
                raise PromptError(
                    f"{got} image embeddings for {wanted} image positions in the tokens: pass one "
                    "image for every image placeholder, and no image tags inside the text."
                )
        if images is None:
            return words
        return words.masked_scatter(is_image[..., None], images.to(words.device, words.dtype))

    def embed_inputs(
        self,
        token_ids: Int[Tensor, "b t"] | None,
        embeds: Float[Tensor, "b t d"] | None,
        pixel_values: Float[Tensor, "n c y x"] | None,
        past: int | Tensor,
    ) -> tuple[Float[Tensor, "b t d"], Int[Tensor, "b i"] | None]:
        """Embed what `forward` is given, and number the images for its mask.

        Args:
            token_ids: either these,
            embeds: or their embeddings, without images so far.
            pixel_values: images to understand.
            past: positions in the cache; a tensor if the cache has a fixed size.

        Returns:
            Embeddings, and `number_images` of cached and new positions.

        Raises:
            PromptError: neither or both of `token_ids` and `embeds`.
        """
        if (token_ids is None) == (embeds is None):
            given = "neither" if token_ids is None else "both"
            raise PromptError(f"input_ids and inputs_embeds: got {given}, pass exactly one.")
        if token_ids is None:
            if pixel_values is None:
                return cast(Tensor, embeds), None
            token_ids = self._image_token_ids(cast(Tensor, embeds))
        if pixel_values is not None and not is_tracing(pixel_values):
            past = int(past)
        if pixel_values is not None or (isinstance(past, int) and past == 0):
            found = self.embed_conversation(token_ids, pixel_values, embeds=embeds)
        else:  # placeholders that the LLM itself writes are tokens like any other
            found = self.llm.get_input_embeddings()(token_ids)
        numbers = number_images(token_ids, self.config)
        if numbers is None or not isinstance(past, int):
            return found, None
        return found, nn.functional.pad(numbers, (past, 0), value=NO_IMAGE)

    def _image_token_ids(self, embeds: Float[Tensor, "b t d"]) -> Int[Tensor, "b t"]:
        """Start tags and placeholders, recognised by their embeddings; -1 elsewhere."""
        token_ids = torch.full(embeds.shape[:2], -1, device=embeds.device)
        table = self.llm.get_input_embeddings().weight
        for token_id in (self.config.image_start_token_id, self.config.image_token_id):
            is_token = (embeds == table[token_id].to(embeds.dtype)).all(-1)
            token_ids = token_ids.masked_fill(is_token, token_id)
        return token_ids
