"""What happens while one prompt is drawn, for people who want to see how rectified flow works.

The drawing is `JanusFlow.generate`'s own. After it an `Observer` looks at the points that its path
went through: the velocity with and without the prompt, what every patch of the picture attends to
at the block whose features REPA aligns, and how REPA's head guesses the features that the
understanding tower finds in the finished image.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from jaxtyping import Float
from PIL import Image
from torch import Tensor
from torch.nn.functional import cosine_similarity

from janusflow.config.errors import ConfigError
from janusflow.config.model import RepaConfig
from janusflow.config.upscaling import NONE
from janusflow.flow import VelocityQuery
from janusflow.flow.sampler import UNCONDITIONAL
from janusflow.inference.drawing.batches import DrawingStep, GenerationRequest
from janusflow.inference.drawing.best_of import Pipeline
from janusflow.inference.drawing.generation import generate_images
from janusflow.inference.drawing.latents import decode_latents
from janusflow.inference.drawing.metadata import record_of
from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts, prompt_of
from janusflow.inference.drawing.sampling import ADAPTIVE, DrawingSettings
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.rows import Rows
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.templates import question_text

MOST_STEPS = 50
"""Every step is looked at, and its two images decoded."""
UNGUIDED, WITHOUT_PROMPT = 1.0, 0.0
"""Guidance weights of the two drawings that the explained one is compared with."""
EAGER = "eager"
"""transformers' attention that also gives its weights."""
WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff]|[^\s\u3040-\u30ff\u3400-\u9fff]+")
"""What stands between spaces; in Chinese and Japanese, which have none, a character."""


@dataclass(frozen=True, kw_only=True)
class Observation:
    """What the model did at one point x_t of the path; p patches, k words, s steps."""

    step: DrawingStep
    """Time, state and the velocity that the path went on with."""
    conditional: Float[Tensor, "1 c y x"]
    """Velocity with the prompt."""
    unconditional: Float[Tensor, "1 c y x"]
    """Velocity without it, or with the negative prompt."""
    attention_to_words: Float[Tensor, "p k"]
    """Share of a patch's attention that a word's tokens get, the mean of all heads."""
    attention_to_image: Float[Tensor, " p"]
    """Likewise of the time token and all patches. What is left goes to the template's tokens."""
    features: Float[Tensor, "p w"] | None
    """REPA's guess of the finished image's tower features; None for a model without its head."""

    @property
    def predicted_data(self) -> Float[Tensor, "2 c y x"]:
        """Where the path would end straight on from here, with the prompt alone and without it."""
        info = self.step.info
        return info.x_t + (1.0 - info.t) * torch.cat([self.conditional, self.unconditional])

    @cached_property
    def previews(self) -> list[Image.Image]:
        """The images of `predicted_data`; those of the guided path are the step's own."""
        return decode_latents(self.step.vae, self.predicted_data.float())


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """One drawing, step by step, and two to compare it with."""

    image: Image.Image
    """With its record; its plan, if any, is what was drawn."""
    unguided: Image.Image
    """From the same noise and words with guidance 1."""
    without_prompt: Image.Image
    """From the same noise without any words, or with the negative prompt's."""
    words: list[str]
    """Of what was drawn, in order."""
    observations: list[Observation]
    tower_features: Float[Tensor, "p w"]
    """What the understanding tower finds in the image, patch by patch."""

    @property
    def speeds(self) -> Float[Tensor, "s 3"]:
        """Root mean square of the velocity: as walked, with the prompt alone, without it."""
        return torch.stack(
            [
                _rms(torch.cat([each.step.info.velocity, each.conditional, each.unconditional]))
                for each in self.observations
            ]
        )

    @property
    def guidance_size(self) -> Float[Tensor, " s"]:
        """Root mean square of what guidance adds to the velocity with the prompt alone."""
        return torch.cat(
            [_rms(each.step.info.velocity - each.conditional) for each in self.observations]
        )

    @property
    def deviation(self) -> Float[Tensor, " s"]:
        """Distance from the straight line between noise and the end, in lengths of that line."""
        start, last = self.observations[0].step.info, self.observations[-1].step.info
        line = (last.x_next - start.x_t).flatten().float()
        walked = torch.stack(
            [(each.step.info.x_t - start.x_t).flatten().float() for each in self.observations]
        )
        beside = walked - torch.outer(walked @ line / line.square().sum(), line)
        return beside.norm(dim=1) / line.norm()

    @property
    def alignment(self) -> Float[Tensor, "s p"] | None:
        """Cosine of REPA's guess and the tower's features; None for a model without its head."""
        guesses = [each.features for each in self.observations if each.features is not None]
        if not guesses:
            return None
        return cosine_similarity(torch.stack(guesses).float(), self.tower_features.float(), dim=-1)


class Observer:
    """Looks at how a model draws one text. A look evaluates the model twice, on one row.

    Args:
        jf: nothing else may use it during a look.
        text: what is drawn, a plan or a prompt.
        negative_prompt: of the unconditional branch.
    """

    def __init__(self, jf: Pipeline, text: str, *, negative_prompt: str | None = None) -> None:
        self.jf = jf
        self.text = text
        self.negative_prompt = negative_prompt

    @cached_property
    def words(self) -> list[str]:
        """The text's words."""
        return WORD.findall(self.text)

    @torch.no_grad()
    def observe(self, step: DrawingStep) -> Observation:
        """Look at the start of a step of a batch of one.

        Raises:
            ConfigError: the LLM's blocks have no attention that gives its weights.
        """
        x_t, t, model = step.info.x_t, step.info.t, self.jf.model
        unconditional = self._velocity(VelocityQuery(x_t, t, (UNCONDITIONAL,)))
        with attention_weights(model) as noted:
            reading = model.read_rows(
                self._rows,
                learnt_positions=torch.zeros(0, dtype=torch.long, device=model.device),
                x_t=x_t,
                t=torch.full((1,), t, dtype=torch.float32, device=x_t.device),
                align=model.repa_head is not None,
            )
        assert reading.velocity is not None, "a latent was given"
        patches = noted[0].float().mean(dim=1)[0, -model.config.generation.num_tokens :]
        num_prompt = self._is_word.shape[0]
        return Observation(
            step=step,
            conditional=reading.velocity.float(),
            unconditional=unconditional.float(),
            attention_to_words=patches[:, :num_prompt] @ self._is_word.to(patches),
            attention_to_image=patches[:, num_prompt:].sum(dim=1),
            features=None if reading.alignment is None else reading.alignment[0],
        )

    @torch.no_grad()
    def tower_features(self, image: Image.Image) -> Float[Tensor, "p w"]:
        """What the tower finds in an image, patch by patch."""
        pixels = self.jf.processor.image_processor(image, return_tensors="pt")["pixel_values"]
        return self.jf.model.understanding_features(pixels.to(self.jf.model.device))[0]

    @cached_property
    def _velocity(self) -> PromptVelocity:
        prompts = encode_texts(
            self.jf.model,
            self.jf.processor,
            [self.text],
            is_guided=True,
            negative_prompt=self.negative_prompt,
        )
        return PromptVelocity(self.jf.model, prompts, [[self.text]])

    @cached_property
    def _rows(self) -> Rows:
        """The prompt and the image after it, as one training row."""
        prompt = prompt_of(self.jf.model, self.jf.processor, [self.text])
        num_drawn = 1 + self.jf.model.config.generation.num_tokens
        drawn = prompt.token_ids.new_full((1, num_drawn), self.jf.model.config.pad_token_id)
        token_ids = torch.cat([prompt.token_ids, drawn], dim=1)
        position_ids = torch.arange(token_ids.shape[1], device=token_ids.device)[None]
        return Rows(
            token_ids=token_ids,
            position_ids=position_ids,
            segment_ids=torch.zeros_like(token_ids),
            branches=torch.zeros_like(token_ids),
            is_drawing=position_ids >= prompt.token_ids.shape[1],
        )

    @cached_property
    def _is_word(self) -> Float[Tensor, "t k"]:
        """1 where a token of the prompt belongs to a word."""
        return token_words(self.jf.processor, self.text)


def explain(
    jf: Pipeline,
    prompt: str,
    *,
    negative_prompt: str | None = None,
    seed: int | None = None,
    settings: DrawingSettings | None = None,
) -> Explanation:
    """Draw one image as `JanusFlow.generate` does, and look at every step of it.

    Raises:
        ConfigError: the settings cannot be explained, or they are none.
        PromptError: the prompt is none, or longer than the model's context.
    """
    settings = settings or DrawingSettings()
    require_explainable(settings)
    asked = GenerationRequest(
        prompts=(prompt,), negative_prompt=negative_prompt, seed=seed, settings=settings
    )
    steps = list[DrawingStep]()
    (image,) = generate_images(jf, asked, on_step=steps.append)
    record = record_of(image)
    text = (record and record.plan) or prompt
    unguided, without_prompt = (
        generate_images(jf, replace(asked, prompts=(text,), settings=other))[0]
        for other in compared_settings(settings)
    )
    observer = Observer(jf, text, negative_prompt=negative_prompt)
    return Explanation(
        image=image,
        unguided=unguided,
        without_prompt=without_prompt,
        words=observer.words,
        observations=[observer.observe(step) for step in steps],
        tower_features=observer.tower_features(image),
    )


def require_explainable(settings: DrawingSettings) -> None:
    """Refuse settings whose steps are not one image's, known beforehand and few.

    Raises:
        ConfigError: they are not.
    """
    limits = {
        "steps": (settings.steps <= MOST_STEPS, f"at most {MOST_STEPS}"),
        "solver": (settings.solver != ADAPTIVE, "one with a fixed number of steps, such as euler"),
        "best_of": (settings.best_of == 1, "1, since one image is explained"),
        "upscale": (settings.upscale == NONE, f"{NONE}, since the model's own image is explained"),
    }
    for name, (is_met, wanted) in limits.items():
        if not is_met:
            raise ConfigError(f"{name}={getattr(settings, name)} to be explained: use {wanted}.")


def compared_settings(settings: DrawingSettings) -> list[DrawingSettings]:
    """Of the drawings from the same noise that are compared: unguided, and without the prompt."""
    return [
        replace(settings, guidance=weight, guidance_rescale=0.0, plan="never")
        for weight in (UNGUIDED, WITHOUT_PROMPT)
    ]


def token_words(processor: JanusFlowProcessor, text: str) -> Float[Tensor, "t k"]:
    """Which tokens of a prompt (its template included) belong to which word of it: 1 or 0.

    A word of several tokens has several ones in its column, a token of the template none in its
    row.
    """
    before = question_text("\0").index("\0")
    asked, stripped = question_text(text), text.strip()
    offsets = processor.tokenizer(asked, return_offsets_mapping=True)["offset_mapping"]
    spans = [(before + word.start(), before + word.end()) for word in WORD.finditer(stripped)]
    belongs = torch.zeros(len(offsets), len(spans))
    for token, (start, end) in enumerate(offsets):
        for word, (first, last) in enumerate(spans):
            if start < last and end > first:
                belongs[token, word] = 1.0
                break  # a token over two words, of a tokenizer that joins them: the first one's
    return belongs


@contextmanager
def attention_weights(model: JanusFlowForConditionalGeneration) -> Iterator[list[Tensor]]:
    """Note the attention weights [b h t s] of the block that makes what REPA's head reads.

    Of a model without a head it is the block of the paper. The LLM uses eager attention meanwhile.

    Raises:
        ConfigError: the block has no attention of the usual name.
    """
    llm, noted = model.llm, list[Tensor]()
    blocks = llm.base_model.layers
    number = min((model.config.repa or RepaConfig()).block, len(blocks))
    attention = getattr(blocks[number - 1], "self_attn", None)
    if attention is None:
        raise ConfigError(
            f"block {number} of the {llm.config.model_type} has no self_attn: an explanation needs "
            "its attention weights. Use an LLM whose blocks all attend."
        )
    before = llm.config._attn_implementation
    hook = attention.register_forward_hook(lambda _, __, output: noted.append(output[1]))
    llm.set_attn_implementation(EAGER)
    try:
        yield noted
    finally:
        hook.remove()
        llm.set_attn_implementation(before)


def _rms(velocities: Float[Tensor, "b c y x"]) -> Float[Tensor, " b"]:
    return velocities.float().square().flatten(1).mean(dim=1).sqrt()
