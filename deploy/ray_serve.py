"""The application of `janusflow serve` on Ray Serve: replicas, autoscaling, streams through.

    pip install -e ".[serve,ray]"
    cd deploy && serve run ray_serve:build model=mini min_replicas=2

Each replica has its own model and step scheduler, so requests of one replica share its forwards.
Ray sends a request to the less busy of two replicas that it draws.
"""

import os

from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict
from ray import serve
from ray.serve import Application

from janusflow.config.serving import KEY_VARIABLE, ServingConfig


class Settings(BaseModel):
    """What `serve run ray_serve:build NAME=VALUE ...` or a Serve config file may say."""

    model_config = ConfigDict(extra="forbid")

    model: str = "mini"
    """mini, a folder that every node has, or a hub id."""
    dtype: str = "auto"
    min_replicas: int = 1
    max_replicas: int = 4
    target_ongoing_requests: float = 8.0
    """Requests at work in a replica, on average, above which another one is started."""
    max_ongoing_requests: int = 64
    """In one replica; others wait in Ray's proxy."""
    cpus: float = 1.0
    gpus: float = 0.0
    """Of each replica; a share, such as 0.5, puts several on one GPU."""
    max_images: int = 8
    """In one forward of a replica."""
    drain_seconds: float = 30.0
    """For requests to finish in a replica that is stopped."""


def build(settings: Settings) -> Application:
    """The application, for `serve run` and Serve's config files.

    API keys are read where the replicas run, from the environment variable JANUSFLOW_API_KEY.
    """

    def replica() -> FastAPI:
        import janusflow
        from janusflow.serving.app import create_app

        keys = tuple(filter(None, os.environ.get(KEY_VARIABLE, "").split(",")))
        # Ray's proxy, not this server, is what clients reach: at any address.
        config = ServingConfig(
            host="0.0.0.0",
            api_keys=keys,
            max_images=settings.max_images,
            max_waiting=settings.max_ongoing_requests,
        )
        return create_app(janusflow.load(settings.model, dtype=settings.dtype), config)

    deployment = serve.deployment(
        serve.ingress(replica)(),
        name="janusflow",
        max_ongoing_requests=settings.max_ongoing_requests,
        graceful_shutdown_timeout_s=settings.drain_seconds,
        ray_actor_options={"num_cpus": settings.cpus, "num_gpus": settings.gpus},
        autoscaling_config={
            "min_replicas": settings.min_replicas,
            "max_replicas": max(settings.max_replicas, settings.min_replicas),
            "target_ongoing_requests": settings.target_ongoing_requests,
        },
    )
    return deployment.bind()
