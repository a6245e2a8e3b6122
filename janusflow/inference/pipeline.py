"""The `jf` object: a model, its processor and VAE joined; it draws, and answers questions."""

from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image
from transformers import BatchFeature

from janusflow.config.keywords import refuse_unknown
from janusflow.inference.adapters import AdapterMixin
from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
from janusflow.inference.answering.chat import (
    Images,
    ImagesPerQuestion,
    Message,
    Questions,
    log_likelihoods,
    pair_questions,
    question_message,
    stream_text,
)
from janusflow.inference.answering.decoding import AnsweringSettings, require_context, settings_of
from janusflow.inference.drawing.batches import GenerationRequest, OnImage, OnStep
from janusflow.inference.drawing.best_of import Knowledge, Scorer
from janusflow.inference.drawing.generation import generate_images
from janusflow.inference.drawing.init_image import prepare_init_image
from janusflow.inference.drawing.latents import vae_factor
from janusflow.inference.drawing.planning import HOW
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.inference.drawing.seeds import chosen
from janusflow.inference.keywords import GENERATE_NAMES
from janusflow.inference.memory.offload import Offloading
from janusflow.interop.saving import write_folder
from janusflow.interop.vae import encode_images
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.processing.images import ImageInput
from janusflow.processing.processor import JanusFlowProcessor
from janusflow.processing.templates import planning_question
from janusflow.tuning.active import plain_modules

CONTROLS = {each.name for each in fields(DrawingSettings)}


class JanusFlow(AdapterMixin):
    """A model with its processor and VAE. Make one with `janusflow.load`."""

    def __init__(
        self,
        *,
        model: JanusFlowForConditionalGeneration,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        name: str,
        offloading: Offloading | None = None,
        knowledge: Knowledge | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.vae = vae
        self.name = name
        self.offloading = offloading
        self.knowledge = knowledge
        """Of a model that knows only a few words: which."""
        self.scorer: Scorer | None = None
        """Says which of `best_of` drawings is kept; None is the model itself."""

    @property
    def image_size(self) -> int:
        """Rows and columns of a drawn image, in pixels."""
        return self.model.config.generation.latent_size * vae_factor(self.vae)

    # ---- drawing ------------------------------------------------------------------------------

    @torch.no_grad()
    def generate(  # noqa: PLR0913 (what people set, each by its name)
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | None = None,
        num_images: int = 1,
        steps: int = 30,
        guidance: float | str = 2.0,
        solver: str = "euler",
        seed: int | Sequence[int] | None = None,
        init_image: ImageInput | None = None,
        strength: float | None = None,
        mask: ImageInput | None = None,
        invert: str | None = None,
        on_step: OnStep | None = None,
        on_image: OnImage | None = None,
        progress: bool = False,
        batch_size: int | None = None,
        **control: Any,
    ) -> list[Image.Image]:
        """Draw `num_images` images of every prompt, prompt by prompt.

        An image depends on its prompt, seed and settings alone. `image.info` holds all of them,
        and `image.save("out.png")` writes them. `info["plan"]`, if any, was drawn for the prompt.

        Args:
            prompt: one or several.
            negative_prompt: what the unconditional branch reads, instead of nothing.
            num_images: per prompt.
            steps: of the ODE solver; dopri5 chooses its own.
            guidance: classifier-free guidance weight; 1 is none, half the work. Or as "3@0.1-0.6".
            solver: euler, midpoint, heun, rk4 or dopri5.
            seed: image i has the noise of seed + i, or of the i-th in a list; None is random.
            init_image: start from this image, noised, instead of from noise alone.
            strength: share of the path that is walked from there: small stays close.
            mask: white is drawn anew, black keeps the pixels of `init_image`.
            invert: what `init_image` shows, or "": start from its own noise (inversion.py).
            on_step: called after every step of a batch with a DrawingStep, for previews.
            on_image: called with each image's place and the image once its batch is finished.
            progress: show a bar on stderr.
            batch_size: images drawn side by side; more is faster and takes more memory.
            **control: the other fields of DrawingSettings (drawing/sampling.py).
        """
        refuse_unknown("jf.generate", control, known=CONTROLS, names=GENERATE_NAMES)
        request = GenerationRequest(
            prompts=(prompt,) if isinstance(prompt, str) else tuple(prompt),
            negative_prompt=negative_prompt,
            num_images=num_images,
            seed=seed,
            settings=DrawingSettings(steps=steps, guidance=guidance, solver=solver, **control),
            init_image=prepare_init_image(self, init_image, strength, mask, invert),
            batch_size=batch_size,
        )
        return generate_images(self, request, on_step=on_step, on_image=on_image, progress=progress)

    def plan(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """Say in words where everything is: what is drawn instead of prompts, a seed for each.

        The question has the form of a prompt, as in training. An empty answer leaves the prompt.
        """
        plans = self._answer([planning_question(prompt) for prompt in prompts], HOW, seeds)
        return [plan or prompt for plan, prompt in zip(plans, prompts, strict=True)]

    # ---- answering ----------------------------------------------------------------------------

    def ask(
        self,
        images: ImagesPerQuestion,
        question: Questions,
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        stop: str | Sequence[str] = (),
        seed: int | None = None,
        **unknown: Any,
    ) -> str | list[str]:
        """Answer a question about an image, several images or none.

        Several questions are answered side by side, and come back as a list: then `images` is a
        list with one entry a question (an image, a list of them, or None), or one image for all.

        Args:
            images: paths, bytes or PIL images, shown before the question.
            question: one or several.
            max_new_tokens: an answer is cut here, or where the model's context ends.
            temperature: 0 gives the likeliest answer, the same every time.
            top_p: draw from the likeliest tokens of this much probability.
            stop: an answer ends before this text, or the first of these.
            seed: of the draws, question i has seed + i; None is random.
            **unknown: refused, with the name that an argument of transformers has here.
        """
        asked = pair_questions(images, question)
        answers = self.answer(
            [[question_message(images, text)] for images, text in asked],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            stop=stop,
            seed=seed,
            **unknown,
        )
        return answers[0] if isinstance(question, str) else answers

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        seed: int | None = None,
        allow_paths: bool = True,
        **settings: Any,
    ) -> list[str]:
        """Answer several conversations side by side; `stream` has the arguments."""
        first = chosen(seed)
        seeds = range(first, first + len(conversations))
        return self._answer(conversations, settings_of(settings), seeds, allow_paths=allow_paths)

    def _answer(
        self,
        conversations: Sequence[Sequence[Message] | str],
        settings: AnsweringSettings,
        seeds: Sequence[int],
        *,
        allow_paths: bool = False,
    ) -> list[str]:
        requests = [
            QuestionRequest(messages=messages, settings=settings, seed=seed)
            for messages, seed in zip(conversations, seeds, strict=True)
        ]
        batch = AnswerBatch(self.model, self.processor)
        batch.add(self.prepare_inputs(conversations, allow_paths=allow_paths), requests)
        while batch.answers:
            batch.choose()
            batch.read()
        return [request.result(0.0) for request in requests]

    def stream(
        self,
        messages: Sequence[Message],
        *,
        seed: int | None = None,
        allow_paths: bool = True,
        **settings: Any,
    ) -> Iterator[str]:
        """Answer a conversation, giving the text in pieces as it comes: whole characters only.

        Args:
            messages: any number of turns and images, the last one the user's.
            seed: of the draws; None is random.
            allow_paths: False refuses file paths in messages, for those that come over a network.
            **settings: max_new_tokens, temperature, top_p and stop, as of `ask`; others are
                refused.
        """
        request = QuestionRequest(
            messages=messages, settings=settings_of(settings), seed=chosen(seed)
        )
        inputs = self.prepare_inputs([messages], allow_paths=allow_paths)
        return stream_text(AnswerBatch(self.model, self.processor), inputs, request)

    def log_likelihood(self, images: Images, question: Questions, answer: str) -> float:
        """Natural logarithm of the probability that just this is answered, its end included."""
        (asked,) = pair_questions(images, question)
        return self.log_likelihoods([asked], [answer])[0]

    def log_likelihoods(
        self, asked: Sequence[tuple[Sequence[ImageInput], str]], answers: Sequence[str]
    ) -> list[float]:
        """The same of several questions, read side by side, each with its images and answer."""
        conversations = [[question_message(*each)] for each in asked]
        inputs = self.prepare_inputs(conversations, allow_paths=True)
        return log_likelihoods(self.model, self.processor, inputs, answers)

    @torch.no_grad()
    def prepare_inputs(
        self, conversations: Sequence[Sequence[Message] | str], *, allow_paths: bool
    ) -> BatchFeature:
        """Tokens of conversations, or of prompts; images as the model reads them.

        Images are pixels, or latents where the model understands those.
        Raises PromptError where a conversation leaves no room for an answer in the context.
        """
        prompts = [each for each in conversations if isinstance(each, str)]
        batch = (
            self.processor.prompts(prompts)
            if prompts
            else self.processor.conversations(
                conversations, allow_paths=allow_paths, continue_final_message=True
            )
        )
        require_context(int(batch["attention_mask"].sum(-1).max()), self.model.config)
        if "pixel_values" in batch and self.model.config.uses_latent_input:
            batch["pixel_values"] = encode_images(self.vae, batch["pixel_values"])
        return batch

    # ---- files --------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write everything `janusflow.load` needs, the VAE included, in our layout.

        Raises CheckpointError where weights are quantized, offloaded, or have unmerged adapters.
        """
        with plain_modules(self.model):
            write_folder(Path(folder), model=self.model, processor=self.processor, vae=self.vae)
