"""`POST /v1/images/explanations`: what happens while one prompt is drawn, step by step.

Everything goes through the scheduler, so that others go on meanwhile: three ordinary drawings side
by side, then one short call a step that looks at the model. Images are decoded beside it.
"""

from dataclasses import replace
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from torch import Tensor

from janusflow.inference.drawing.batches import DrawingStep
from janusflow.inference.drawing.explanation import (
    Explanation,
    Observer,
    compared_settings,
    require_explainable,
)
from janusflow.inference.drawing.planning import plans_first
from janusflow.inference.drawing.seeds import chosen
from janusflow.serving.bodies import unsupported
from janusflow.serving.engine import Engine, Work
from janusflow.serving.images.drawing import ImageAnswer, check_limits, finish
from janusflow.serving.images.types import GenerationBody
from janusflow.serving.models import adapters_of, check_model
from janusflow.tuning.active import can_plan

router = APIRouter()
ONLY = {"n": 1, "stream": False, "response_format": "b64_json"}
"""Fields of a drawing that have one value here."""
VELOCITIES = ("guided", "conditional", "unconditional")
DECIMALS = 4


@router.post("/v1/images/explanations")
async def explain_image(body: GenerationBody, request: Request) -> dict[str, Any]:
    """Draw one image as generations do, and tell of every step what the model did there."""
    engine: Engine = request.app.state.engine
    check_model(engine, body.model)
    check_limits(engine, body, body.prompt)
    for name, value in ONLY.items():
        if getattr(body, name) not in (None, value):
            raise unsupported(name, getattr(body, name))
    require_explainable(body.settings)
    with engine.work(request, "images") as work:
        explanation = await _explain(engine, work, body)
        answer = ImageAnswer.to(body, engine.jf.image_size)
        told = await work.attend(engine.images.in_thread(_told, explanation, answer))
        for index in range(len(explanation.observations)):
            # One by one: others have images to open and to pack, too.
            step = engine.images.in_thread(_told_step, explanation, index, answer)
            told["steps"].append(await work.attend(step))
        finish(engine, work)
    return told | {"grid": engine.jf.model.config.generation.grid_size}


async def _explain(engine: Engine, work: Work, body: GenerationBody) -> Explanation:
    """Draw, compare and look, all by the scheduler."""
    scheduler, settings, plan = engine.scheduler, body.settings, body.plan_text
    seed, adapters = chosen(body.seed), adapters_of(engine, body.model)
    has_learnt = can_plan(engine.jf.model, adapters)
    if plan is None and plans_first(settings, has_learnt=has_learnt, has_init_image=False):
        asked = scheduler.submit_plan(body.prompt, seed=seed, adapters=adapters)
        plan = await work.result(asked) or body.prompt
    text, steps = body.prompt if plan is None else plan, list[DrawingStep]()
    submit = partial(
        scheduler.submit_drawing,
        negative_prompt=body.negative_prompt,
        seed=seed,
        adapters=adapters,
    )
    plans, settings = None if plan is None else [plan], replace(settings, plan="never")
    work.handles.append(submit(body.prompt, settings=settings, plans=plans, on_step=steps.append))
    for other in compared_settings(settings):
        work.handles.append(submit(text, settings=other))
    image, unguided, without_prompt = [image for (image,) in await work.results()]
    observer = Observer(engine.jf, text, negative_prompt=body.negative_prompt)

    async def look(function: Any, *given: Any) -> Any:
        """One call waits at a time: several explanations take turns."""
        call = scheduler.submit_call(partial(function, *given), adapters=adapters)
        return await work.result(call)

    return Explanation(
        image=image,
        unguided=unguided,
        without_prompt=without_prompt,
        words=observer.words,
        observations=[await look(observer.observe, step) for step in steps],
        tower_features=await look(observer.tower_features, image),
    )


def _told(explanation: Explanation, answer: ImageAnswer) -> dict[str, Any]:
    """An explanation as it is answered, images in base64, its steps still missing; blocks."""
    return {
        "created": answer.created,
        **answer.entry(explanation.image),
        **answer.shared,
        "unguided": answer.encode(explanation.unguided),
        "without_prompt": answer.encode(explanation.without_prompt),
        "words": explanation.words,
        "steps": [],
    }


def _told_step(explanation: Explanation, index: int, answer: ImageAnswer) -> dict[str, Any]:
    """One of its steps; blocks."""
    seen, alignment = explanation.observations[index], explanation.alignment
    ends = [*seen.step.preview, *seen.previews]
    speeds = _rounded(explanation.speeds[index])
    return {
        "t": seen.step.t,
        "state": answer.encode(seen.step.state[0]),
        "predicted": dict(zip(VELOCITIES, map(answer.encode, ends), strict=True)),
        "speed": dict(zip(VELOCITIES, speeds, strict=True)),
        "guidance": _rounded(explanation.guidance_size[index]),
        "deviation": _rounded(explanation.deviation[index]),
        "attention": {
            "words": _rounded(seen.attention_to_words),
            "image": _rounded(seen.attention_to_image),
        },
        "alignment": None if alignment is None else _rounded(alignment[index]),
    }


def _rounded(values: Tensor) -> Any:
    """A number, or lists of them, as JSON has it."""
    return values.double().round(decimals=DECIMALS).tolist()
