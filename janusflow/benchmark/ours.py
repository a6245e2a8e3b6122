"""Our side of the benchmark: what `janusflow generate` and `ask` run, through the same code."""

import numpy as np
import torch

from janusflow.benchmark import inputs
from janusflow.benchmark.cases import Outputs, Request, Watch
from janusflow.flow import CONDITIONAL, UNCONDITIONAL, VelocityQuery, combine
from janusflow.inference.answering.answers import AnswerBatch, QuestionRequest
from janusflow.inference.answering.chat import question_message
from janusflow.inference.answering.decoding import AnsweringSettings
from janusflow.inference.drawing.prompts import PromptVelocity, encode_texts
from janusflow.inference.loading import load
from janusflow.inference.pipeline import JanusFlow


class Ours:
    """This package."""

    jf: JanusFlow

    def load(self, request: Request, watch: Watch) -> Outputs:
        """`janusflow.load`."""
        with watch:
            self.jf = load(
                request.folder,
                device=request.device,
                dtype=request.dtype,
                quantize=request.quantize,
            )
        return {}

    @torch.no_grad()
    def velocity(self, request: Request, watch: Watch) -> Outputs:
        """One evaluation with the prompt's cache filled."""
        model = self.jf.model
        flow = model.config.generation
        prompts = encode_texts(model, self.jf.processor, [request.prompt], is_guided=True)
        velocity = PromptVelocity(model, prompts, [[request.prompt]] * request.batch)
        shape = (flow.latent_channels, flow.latent_size, flow.latent_size)
        x_t = inputs.noise(shape, batch=request.batch, seed=request.seed).to(model.device)
        query = VelocityQuery(x_t, inputs.TIME, (CONDITIONAL, UNCONDITIONAL))
        velocity.prefix(query)  # selected once a drawing, not at every step
        with watch:
            found = combine(velocity(query), scale=request.guidance)
        return {"velocity": found.float().cpu().numpy()}

    def picture(self, request: Request, watch: Watch) -> Outputs:
        """`jf.generate`; in bfloat16 with the release's own rounding of every step."""
        is_exact = request.dtype == "float32" or request.solver != "euler"
        with watch:
            drawn = self.jf.generate(
                request.prompt,
                num_images=request.batch,
                batch_size=request.batch,
                steps=request.steps,
                solver=request.solver,
                shift=request.shift,
                guidance=request.guidance,
                seed=request.seed,
                numerics="accurate" if is_exact else "parity",
                plan="never",
            )
        return {"levels": np.stack([np.asarray(picture) for picture in drawn])}

    @torch.no_grad()
    def ask(self, request: Request, watch: Watch) -> Outputs:
        """What `jf.ask` does, with a lap at every token."""
        shown = inputs.pictures(request.images, seed=request.seed)
        question = QuestionRequest(
            messages=[question_message(shown, request.question)],
            settings=AnsweringSettings(max_new_tokens=request.new_tokens),
            seed=0,
        )
        batch = AnswerBatch(self.jf.model, self.jf.processor)
        with watch:
            prepared = self.jf.prepare_inputs([question.messages], allow_paths=False)
            batch.add(prepared, [question])
            while batch.answers:
                batch.choose()
                watch.lap()
                batch.read()
        return {"token_ids": np.array(question.token_ids)}
