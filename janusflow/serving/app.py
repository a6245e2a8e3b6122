"""The application: layers, routes, and the thread of the scheduler for as long as it runs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware

import janusflow
from janusflow.config.serving import ServingConfig
from janusflow.inference.pipeline import JanusFlow
from janusflow.serving import explanations, models
from janusflow.serving.chat import routes as chat
from janusflow.serving.engine import Engine
from janusflow.serving.errors import add_error_handlers
from janusflow.serving.images import routes as images
from janusflow.serving.logs import RequestLog
from janusflow.serving.security import Guard

PAGE = Path(__file__).with_name("page")
ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "A mistake of the caller."},
    "5XX": {"description": "Ours."},
}
PAGE_HEADERS = {
    "Cache-Control": "no-cache",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
"""The page needs nothing but its own files."""


class Page(StaticFiles):
    """Files of the page, with headers that let it load nothing else."""

    def file_response(self, *given: Any, **more: Any) -> Response:
        """One file."""
        response = super().file_response(*given, **more)
        response.headers.update(PAGE_HEADERS)
        return response


def create_app(jf: JanusFlow, config: ServingConfig | None = None) -> FastAPI:
    """The server's application, for uvicorn or any other ASGI server.

    Args:
        jf: nothing else may use it while the application runs.
        config: limits, keys, who may call.
    """
    config = config or ServingConfig()
    engine = Engine(jf, config)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        with engine.running():
            yield

    app = FastAPI(
        title="JanusFlow", version=janusflow.__version__, lifespan=lifespan, responses=ERRORS
    )
    app.state.engine = engine
    add_error_handlers(app)
    for router in (models.router, chat.router, images.router, explanations.router):
        app.include_router(router)
    page = Page(directory=PAGE)
    app.mount("/page", page, name="page")

    @app.get("/", include_in_schema=False)
    async def index(request: Request) -> Response:
        return await page.get_response("index.html", request.scope)

    # The last one is the outermost.
    app.add_middleware(Guard, config=config)
    if config.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=config.cors_origins,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["X-Request-Id", "Retry-After"],
        )
    app.add_middleware(RequestLog)
    return app
