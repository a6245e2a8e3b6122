"""`janusflow serve`: an OpenAI-compatible server, and a page to draw and ask on."""

import os
from typing import Annotated

import typer

from janusflow.cli.options import Adapter, Device, Dtype, Model, Offload, Quantize, Vae
from janusflow.config.errors import ConfigError
from janusflow.config.serving import KEY_VARIABLE, ServingConfig

DEFAULTS = ServingConfig()


def command(
    host: Annotated[
        str, typer.Option(help="Address to listen on; 0.0.0.0 is reached from the network.")
    ] = DEFAULTS.host,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 is any free one.")] = DEFAULTS.port,
    api_key: Annotated[
        list[str] | None,
        typer.Option(help=f"Key that clients must send; several, or {KEY_VARIABLE}=KEY,KEY."),
    ] = None,
    served_model_name: Annotated[
        str | None, typer.Option(help="What clients call the model.")
    ] = None,
    max_images: Annotated[
        int, typer.Option(min=1, help="Images in one forward.")
    ] = DEFAULTS.max_images,
    max_questions: Annotated[
        int, typer.Option(min=1, help="Answers side by side.")
    ] = DEFAULTS.max_questions,
    max_waiting: Annotated[
        int, typer.Option(min=1, help="Drawings, and questions, that may wait; else 429.")
    ] = DEFAULTS.max_waiting,
    tokens_per_step: Annotated[
        int, typer.Option(min=1, help="Tokens of an answer for each step of the images.")
    ] = DEFAULTS.tokens_per_step,
    reuse_bytes: Annotated[
        int, typer.Option(min=0, help="Memory for prompts and images read before; 0 is none.")
    ] = DEFAULTS.reuse_bytes,
    request_seconds: Annotated[
        float, typer.Option(help="Longest time of a request.")
    ] = DEFAULTS.request_seconds,
    drain_seconds: Annotated[
        float, typer.Option(help="For running requests to finish, after SIGTERM.")
    ] = DEFAULTS.drain_seconds,
    max_body_bytes: Annotated[
        int, typer.Option(min=1, help="Longest body of a request.")
    ] = DEFAULTS.max_body_bytes,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Of an image that a client sends.")
    ] = DEFAULTS.max_pixels,
    allowed_host: Annotated[
        list[str] | None, typer.Option(help="Name by which clients call the server.")
    ] = None,
    cors_origin: Annotated[
        list[str] | None, typer.Option(help="Origin of web pages that may call the server.")
    ] = None,
    allow_image_hosts: Annotated[
        str, typer.Option(metavar="HOST,HOST", help="Hosts that images may be fetched from.")
    ] = "",
    model: Model = "mini",
    adapter: Adapter = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    quantize: Quantize = None,
    offload: Offload = None,
    vae: Vae = None,
) -> None:
    """Serve a model over HTTP as OpenAI does; docs/serving.md shows how to call it.

    Examples:
      janusflow serve

      janusflow serve --model deepseek-ai/JanusFlow-1.3B --port 8123 --max-images 16

      janusflow serve --adapter style=runs/style --adapter other=runs/other

      JANUSFLOW_API_KEY=... janusflow serve --host 0.0.0.0 --allowed-host images.example.org
    """
    from janusflow.inference.adapters import read_adapters
    from janusflow.inference.loading import load

    try:
        from janusflow.serving.app import create_app
        from janusflow.serving.logs import log_to_stderr
        from janusflow.serving.server import Server, listen
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"serving needs {error.name}, which is not installed: pip install 'janusflow[serve]'."
        ) from error

    choices = read_adapters(adapter)
    keys = [*(api_key or ()), *filter(None, os.environ.get(KEY_VARIABLE, "").split(","))]
    config = ServingConfig(
        host=host,
        port=port,
        api_keys=tuple(keys),
        served_model_name=served_model_name,
        max_images=max_images,
        max_questions=max_questions,
        max_waiting=max_waiting,
        tokens_per_step=tokens_per_step,
        reuse_bytes=reuse_bytes,
        request_seconds=request_seconds,
        drain_seconds=drain_seconds,
        max_body_bytes=max_body_bytes,
        max_pixels=max_pixels,
        allowed_hosts=tuple(allowed_host or ()),
        cors_origins=tuple(cors_origin or ()),
        image_hosts=tuple(filter(None, allow_image_hosts.split(","))),
    )
    listener = listen(host, port)
    log_to_stderr()
    jf = load(model, device=device, dtype=dtype, quantize=quantize, offload=offload, vae=vae)
    for each in choices:  # each a model of its own, and so never on together
        name = jf.load_adapter(each.path, each.name, weight=0.0)
        config.adapter_weights[name] = each.weight
    if not (config.is_loopback or config.api_keys):
        typer.echo(
            f"WARNING: --host {host} is reached from the network, and no --api-key is set: anyone "
            "there can use this server.",
            err=True,
        )
    typer.echo(f"http://{host}:{listener.getsockname()[1]}/  (Ctrl+C ends it)", err=True)
    Server(create_app(jf, config)).run(sockets=[listener])
