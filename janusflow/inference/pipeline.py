"""The `jf` object: a model, its processor and VAE joined; it draws, and answers questions."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Unpack

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from PIL import Image

from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
from janusflow.inference.answering.chat import (
    Images,
    ImagesPerQuestion,
    Message,
    Questions,
    answer_texts,
    log_likelihood,
    pair_questions,
    question_message,
    stream_text,
)
from janusflow.inference.answering.decoding import AnsweringSettings, require_context, settings_of
from janusflow.inference.drawing.batches import (
    BatchSampler,
    GenerationRequest,
    ImageJob,
    OnImage,
    OnStep,
    batch_size_for,
    collected,
    step_bar,
)
from janusflow.inference.drawing.best_of import best, own_judgement
from janusflow.inference.drawing.init_image import InitImageInput, prepare_original
from janusflow.inference.drawing.inversion import inverted
from janusflow.inference.drawing.latents import vae_factor
from janusflow.inference.drawing.planning import plan_prompts, plans_first
from janusflow.inference.drawing.reading import as_prompt, read_texts
from janusflow.inference.drawing.sampling import DrawingSettings, InitImage, SamplerControl
from janusflow.inference.drawing.seeds import chosen
from janusflow.inference.memory.offload import Offloading
from janusflow.inference.upscaling.upscalers import make_upscaler
from janusflow.interop.saving import write_folder
from janusflow.interop.vae import encode_images
from janusflow.model.modeling import JanusFlowForConditionalGeneration
from janusflow.model.prompt import unconditional
from janusflow.processing.batches import ConversationBatch
from janusflow.processing.images import ImageInput
from janusflow.processing.processor import JanusFlowProcessor


class JanusFlow:
    """A model with its processor and VAE. Make one with `janusflow.load`."""

    def __init__(
        self,
        *,
        model: JanusFlowForConditionalGeneration,
        processor: JanusFlowProcessor,
        vae: AutoencoderKL,
        name: str,
        offloading: Offloading | None = None,
    ) -> None:
        self.model = model
        self.processor = processor
        self.vae = vae
        self.name = name
        self.offloading = offloading
        self.scorer = own_judgement(self)
        """Says which of `best_of` drawings is kept; put your own here."""

    @property
    def image_size(self) -> int:
        """Rows and columns of a drawn image, in pixels."""
        return self.model.config.generation.latent_size * vae_factor(self.vae)

    # ---- drawing ------------------------------------------------------------------------------

    def generate(  # noqa: PLR0913 (what people set, each by its name)
        self,
        prompt: str | Sequence[str],
        *,
        negative_prompt: str | None = None,
        num_images: int = 1,
        steps: int = 30,
        guidance: float | str = 2.0,
        solver: str = "euler",
        seed: int | None = None,
        init_image: ImageInput | None = None,
        strength: float | None = None,
        mask: ImageInput | None = None,
        invert: str | None = None,
        on_step: OnStep | None = None,
        on_image: OnImage | None = None,
        progress: bool = False,
        batch_size: int | None = None,
        **control: Unpack[SamplerControl],
    ) -> list[Image.Image]:
        """Draw `num_images` images of every prompt, prompt by prompt.

        An image depends on its prompt, seed and settings alone; `image.info` holds all of them.

        Args:
            prompt: one or several.
            negative_prompt: what the unconditional branch reads, instead of nothing.
            num_images: per prompt.
            steps: of the ODE solver; dopri5 chooses its own.
            guidance: classifier-free guidance weight; 1 is none, half the work. Or as "3@0.1-0.6".
            solver: euler, midpoint, heun, rk4 or dopri5.
            seed: image i of the call is drawn from noise seed + i; None is random.
            init_image: start from this image, noised, instead of from noise alone.
            strength: share of the path that is walked from there: small stays close.
            mask: white is drawn anew, black keeps the pixels of `init_image`.
            invert: what `init_image` shows, or "": start from its own noise (inversion.py).
            on_step: called after every step of a batch with a DrawingStep, for previews.
            on_image: called with each image's place and the image once its batch is finished.
            progress: show a bar on stderr.
            batch_size: images drawn side by side; more is faster and takes more memory.
            **control: shift, numerics, grid, guidance_rescale, reuse, plan, best_of, upscale: see
                DrawingSettings (drawing.py).
        """
        given = InitImageInput(init_image, strength, mask, invert)
        settings = DrawingSettings(steps=steps, guidance=guidance, solver=solver, **control)
        order = GenerationRequest(
            prompts=(prompt,) if isinstance(prompt, str) else tuple(prompt),
            negative_prompt=negative_prompt,
            num_images=num_images,
            first_seed=chosen(seed),
            settings=settings,
            original=self._original(given, settings),
        )
        drawn = self._draw(order, given, on_step=on_step, show=progress, batch_size=batch_size)
        return collected(drawn, on_image)

    def _draw(
        self,
        order: GenerationRequest,
        given: InitImageInput,
        *,
        on_step: OnStep | None,
        show: bool,
        batch_size: int | None,
    ) -> Iterator[Image.Image]:
        """Plan, draw and put back what a mask keeps; of each image's candidates the best."""
        # Before drawing: upscalers' weights may have to be fetched, and prompts may be refused.
        upscale, device = order.settings.upscale, self.model.device
        upscaler = make_upscaler(upscale, vae=self.vae, device=device, show=show)
        self.processor.prompts(order.prompts)
        size = batch_size_for(order.settings, batch_size)
        jobs, candidates, drawer = list[ImageJob](), list[Image.Image](), None
        with step_bar(order, batch_size=size, on_step=on_step, show=show) as advance:
            for first in range(0, len(order.jobs), size):
                batch = self._planned(order, order.jobs[first : first + size])
                if drawer is None or not drawer.has_read(batch):
                    drawer = self.drawer(order, batch, on_step=advance)
                candidates += given.keep(drawer.draw(batch, first_image=first))
                jobs += batch
                # The last image's candidates may go on in the next batch.
                end = len(jobs) - len(jobs) % order.settings.best_of
                yield from upscaler(self.finished(order, jobs[:end], candidates[:end]))
                del jobs[:end], candidates[:end]

    def _original(self, given: InitImageInput, settings: DrawingSettings) -> InitImage | None:
        size, device = self.image_size, self.model.device
        original = prepare_original(given, vae=self.vae, size=size, device=device)
        if original is None or given.invert is None:
            return original
        shown = as_prompt(self.processor.prompts([given.invert]))
        source = shown if given.invert else unconditional(shown)
        return inverted(original, self.model, source, settings=settings)

    def plan(self, prompts: Sequence[str], seeds: Sequence[int]) -> list[str]:
        """What is drawn instead of prompts that are planned, each with its image's seed."""
        return plan_prompts(self._answer, prompts, seeds)

    def _planned(self, order: GenerationRequest, jobs: list[ImageJob]) -> list[ImageJob]:
        """The jobs with plans, where the order wants them."""
        if not self.wants_plans(order):
            return jobs
        plans = self.plan([job.prompt for job in jobs], [job.seed for job in jobs])
        return [replace(job, plan=plan) for job, plan in zip(jobs, plans, strict=True)]

    def wants_plans(self, order: GenerationRequest) -> bool:
        """Whether the order's prompts are planned first."""
        learnt, original = self.model.config.plans, order.original
        return plans_first(order.settings, has_learnt=learnt, has_original=original is not None)

    def drawer(
        self, order: GenerationRequest, jobs: Sequence[ImageJob], *, on_step: OnStep | None
    ) -> BatchSampler:
        """Read what the jobs draw, every text once."""
        texts = list(dict.fromkeys(job.read for job in jobs))
        prompts = read_texts(
            self.model,
            self.processor,
            texts,
            is_guided=order.settings.is_guided,
            negative_prompt=order.negative_prompt,
        )
        return BatchSampler(
            model=self.model,
            vae=self.vae,
            texts=texts,
            prompts=prompts,
            settings=order.settings,
            original=order.original,
            on_step=on_step,
        )

    def finished(
        self, order: GenerationRequest, jobs: Sequence[ImageJob], candidates: Sequence[Image.Image]
    ) -> list[Image.Image]:
        """Put on candidates how they were drawn, and keep each image's best.

        There is one a job; the jobs are some of the order's, all of their images.
        """
        recorded = [
            order.record(job, model=self.name).attach(image)
            for job, image in zip(jobs, candidates, strict=True)
        ]
        number = order.settings.best_of
        return [
            best(recorded[first : first + number], jobs[first].prompt, self.scorer)
            for first in range(0, len(jobs), number)
        ]

    # ---- seeing -------------------------------------------------------------------------------

    def ask(
        self,
        images: ImagesPerQuestion,
        question: Questions,
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
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
            seed: of the draws, question i has seed + i; None is random.
            **unknown: refused, with the name that an argument of transformers has here.
        """
        asked = pair_questions(images, question)
        answers = self.answer(
            [[question_message(images, text)] for images, text in asked],
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            top_p=top_p,
            seed=seed,
            **unknown,
        )
        return answers[0] if isinstance(question, str) else answers

    def answer(
        self,
        conversations: Sequence[Sequence[Message]],
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        allow_paths: bool = True,
        **unknown: Any,
    ) -> list[str]:
        """Answer several conversations side by side; `stream` has the arguments."""
        settings = settings_of(max_new_tokens, temperature, top_p, unknown)
        first = chosen(seed)
        seeds = range(first, first + len(conversations))
        return self._answer(conversations, settings, seeds, allow_paths=allow_paths)

    def _answer(
        self,
        conversations: Sequence[Sequence[Message]],
        settings: AnsweringSettings,
        seeds: Sequence[int],
        *,
        allow_paths: bool = False,
    ) -> list[str]:
        inputs = self.prepare_inputs(conversations, allow_paths=allow_paths)
        requests = [
            QuestionRequest(messages=messages, settings=settings, seed=seed)
            for messages, seed in zip(conversations, seeds, strict=True)
        ]
        return answer_texts(AnswerBatch(self.model, self.processor), inputs, requests)

    def stream(
        self,
        messages: Sequence[Message],
        *,
        max_new_tokens: int = 512,
        temperature: float = 0.0,
        top_p: float = 1.0,
        seed: int | None = None,
        allow_paths: bool = True,
        **unknown: Any,
    ) -> Iterator[str]:
        """Answer a conversation, giving the text in pieces as it comes: whole characters only.

        Args:
            messages: any number of turns and images, the last one the user's.
            allow_paths: False refuses file paths in messages, for those that come over a network.
            max_new_tokens, temperature, top_p, seed, **unknown: see `ask`.
        """
        settings = settings_of(max_new_tokens, temperature, top_p, unknown)
        request = QuestionRequest(messages=messages, settings=settings, seed=chosen(seed))
        inputs = self.prepare_inputs([messages], allow_paths=allow_paths)
        return stream_text(AnswerBatch(self.model, self.processor), inputs, request)

    def log_likelihood(self, images: Images, question: Questions, answer: str) -> float:
        """Natural logarithm of the probability that just this is answered, its end included."""
        (asked,) = pair_questions(images, question)
        inputs = self.prepare_inputs([[question_message(*asked)]], allow_paths=True)
        return log_likelihood(self.model, self.processor, inputs, answer)

    @torch.no_grad()
    def prepare_inputs(
        self, conversations: Sequence[Sequence[Message]], *, allow_paths: bool
    ) -> ConversationBatch:
        """Tokens, and images as the model reads them: pixels, or their latents.

        Raises PromptError where a conversation leaves no room for an answer in the context.
        """
        batch = self.processor.conversations(conversations, allow_paths=allow_paths)
        require_context(int(batch.attention_mask.sum(-1).max()), self.model.config)
        if batch.pixel_values is None or not self.model.config.uses_latent_input:
            return batch
        return replace(batch, pixel_values=encode_images(self.vae, batch.pixel_values))

    # ---- files --------------------------------------------------------------------------------

    def save_pretrained(self, folder: str | Path) -> None:
        """Write everything `janusflow.load` needs, the VAE included, in our layout."""
        write_folder(Path(folder), model=self.model, processor=self.processor, vae=self.vae)
