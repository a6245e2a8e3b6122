"""Several processes for a test, forked from one that has imported the libraries already.

To import torch, transformers and diffusers takes 5 to 10 seconds of processor time; a process
forked from the server that did so once begins in a tenth of one. The server is the standard
library's: one for each of pytest's own processes, started with the first call.
"""

import multiprocessing
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

SERVER: ForkServerContext = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        "diffusers.models.autoencoders.autoencoder_kl",
        "transformers.models.llama.modeling_llama",
        "transformers.models.siglip.modeling_siglip",
        "torch.distributed.checkpoint",
        "torch.distributed.fsdp",
    ]
)
SECONDS = 240
"""After which a process is killed that has not ended."""


class Ended(NamedTuple):
    """What a process left."""

    code: int
    """0, 1 after an exception, or minus the signal that killed it."""
    stdout: str
    stderr: str


def in_processes(
    run: Callable[..., object],
    arguments: Sequence[tuple[Any, ...]],
    environments: Sequence[Mapping[str, str]] | None = None,
) -> list[Ended]:
    """Call a function of an importable module in as many processes as there are arguments.

    Each has one thread.
    """
    with TemporaryDirectory() as folder:
        outs = [Path(folder, str(number)) for number in range(len(arguments))]
        running = [
            SERVER.Process(target=_run, args=(run, own, out, dict(environment)))
            for own, out, environment in zip(
                arguments, outs, environments or [{}] * len(arguments), strict=True
            )
        ]
        for each in running:
            each.start()
        for each in running:
            each.join(SECONDS)
            each.kill()
            each.join()
        return [
            Ended(each.exitcode, *(out.with_suffix(f".{i}").read_text() for i in (1, 2)))
            for each, out in zip(running, outs, strict=True)
        ]


def torchrun(num: int, *command: str | Path) -> list[Ended]:
    """Run janusflow's command line in so many processes that find each other as torchrun's do."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(num)}
    ranks = [{"RANK": str(i), "LOCAL_RANK": str(i)} for i in range(num)]
    words = tuple(map(str, command))
    return in_processes(_command_line, [words] * num, [meeting | rank for rank in ranks])


def _command_line(*words: str) -> None:
    from janusflow.cli.main import main

    sys.argv = ["janusflow", *words]
    main()


def _run(
    run: Callable[..., object], own: tuple[Any, ...], out: Path, environment: dict[str, str]
) -> None:
    import torch

    for handle, stream in ((1, sys.stdout), (2, sys.stderr)):
        file = os.open(out.with_suffix(f".{handle}"), os.O_WRONLY | os.O_CREAT)
        os.dup2(file, handle)
        stream.reconfigure(line_buffering=True)
    os.environ.update(environment)
    torch.set_num_threads(1)
    run(*own)
