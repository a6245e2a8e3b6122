"""Starts the two sides as processes, and talks to them."""

import json
import os
import subprocess
from dataclasses import asdict
from pathlib import Path

import janusflow
from janusflow.benchmark.cases import Answer, Request
from janusflow.benchmark.worker import BOOTSTRAP
from janusflow.config.errors import ConfigError

ROOT = Path(janusflow.__path__[0]).parent
QUIET = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "PYTHONWARNINGS": "ignore",
}


class Worker:
    """One side, from its start to the end of the block."""

    def __init__(self, name: str, *, python: str, code: str, scratch: Path) -> None:
        self.name, self.log = name, scratch / f"{name}.log"
        command = [python, "-c", BOOTSTRAP, str(ROOT), name, code, str(scratch)]
        # Without PYTHONPATH: what it names would come before the environment's own libraries.
        environment = {**os.environ, **QUIET}
        environment.pop("PYTHONPATH", None)
        with self.log.open("w", encoding="utf-8") as log:
            try:
                self.process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    text=True,
                    env=environment,
                )
            except OSError as error:
                raise ConfigError(f"{python}: cannot be run ({error}): name a Python.") from error

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        if kind is not None:
            self.process.kill()
        self.process.communicate()

    def ask(self, request: Request) -> Answer:
        """Have one measurement made.

        Raises:
            ConfigError: the process died; the message ends with what it said last.
        """
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(asdict(request)) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ConfigError(
                f"{self.name} ended at {request.label} ({self._last_words()}): see docs/speed.md "
                "for what its environment needs."
            )
        return Answer(**json.loads(line))

    def _last_words(self) -> str:
        self.process.wait()
        lines = self.log.read_text(encoding="utf-8").strip().splitlines()
        return f"exit code {self.process.returncode}, {lines[-1] if lines else 'nothing said'}"
