"""`/v1/models`, `/health` and `/metrics`: what is served, whether it is, and how."""

import time
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

import janusflow
from janusflow.flow import SOLVERS
from janusflow.inference.drawing.sampling import DrawingSettings
from janusflow.serving.engine import Engine
from janusflow.serving.errors import ApiError, closing
from janusflow.tuning.active import can_plan

router = APIRouter()
STARTED = int(time.time())


def check_model(engine: Engine, name: str | None) -> str:
    """The name of a served model: the one that is asked for, or where nothing is said the base."""
    if name is None:
        return engine.model_name
    if name not in engine.models:
        raise ApiError(
            404,
            f"There is no model {name!r:.80} here: use {' or '.join(engine.models)}.",
            param="model",
            code="model_not_found",
        )
    return name


def adapters_of(engine: Engine, name: str | None) -> dict[str, float] | None:
    """What a request for a model asks the scheduler for.

    Raises:
        ApiError: there is no such model.
    """
    return engine.models[check_model(engine, name)]


@router.get("/v1/models")
async def list_models(request: Request) -> dict[str, Any]:
    """The model that is served, then it with each of its adapters."""
    engine: Engine = request.app.state.engine
    return {"object": "list", "data": [describe(engine, name) for name in engine.models]}


@router.get("/v1/models/{name:path}")
async def retrieve_model(name: str, request: Request) -> dict[str, Any]:
    """A model by its name."""
    engine: Engine = request.app.state.engine
    return describe(engine, check_model(engine, name))


@router.get("/health")
async def health(request: Request) -> dict[str, str]:
    """Whether requests are taken."""
    if request.app.state.engine.is_draining:
        raise closing()
    return {"status": "ok"}


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Counts and times, as Prometheus reads them."""
    told = generate_latest(request.app.state.engine.metrics.registry)
    return Response(told, media_type=CONTENT_TYPE_LATEST)


def describe(engine: Engine, name: str) -> dict[str, Any]:
    """A model as OpenAI lists it, and under `janusflow` what a page or program needs to draw.

    One with an adapter has a `parent`, as in vLLM.
    """
    jf, config, defaults = engine.jf, engine.config, asdict(DrawingSettings())
    ours = {
        "image_size": jf.image_size,
        "plans": can_plan(jf.model, engine.models[name]),
        "solvers": list(SOLVERS),
        "defaults": {
            "num_inference_steps": defaults["steps"],
            "guidance_scale": defaults["guidance"],
            "solver": defaults["solver"],
        },
        "limits": {
            "n": config.max_choices,
            "num_inference_steps": config.max_steps,
            "best_of": config.max_best_of,
            "images": config.max_images_read,
            "pixels": config.max_pixels,
            "body_bytes": config.max_body_bytes,
            "text": config.max_text,
        },
        "knows": getattr(jf.knowledge, "KNOWN", None),
        "version": janusflow.__version__,
    }
    return {
        "id": name,
        "object": "model",
        "created": STARTED,
        "owned_by": "janusflow",
        "parent": None if name == engine.model_name else engine.model_name,
        "janusflow": ours,
    }
