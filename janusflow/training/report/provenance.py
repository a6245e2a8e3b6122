"""What a run was started with: program versions, device, command line, state of the code."""

import platform
import shlex
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from janusflow.config.files import append_line
from janusflow.training.engine.distributed import num_processes

ENVIRONMENT = "environment.jsonl"
PACKAGES = ("janusflow", "torch", "transformers", "diffusers", "tokenizers", "datasets", "numpy")
GIT_SECONDS = 10


def record_environment(run: Path) -> None:
    """Add a line about this start to the run's folder."""
    append_line(run / ENVIRONMENT, environment(Path.cwd()))


def environment(folder: Path) -> dict[str, Any]:
    """Everything a line holds; `folder` is where the code is looked for."""
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in PACKAGES},
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "num_processes": num_processes(),
        "num_threads": torch.get_num_threads(),
        "git": git_state(folder),
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """The commit that is checked out and whether files differ from it; None without git."""
    commit = _git(folder, "rev-parse", "HEAD")
    changes = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if commit is None or changes is None:
        return None
    return {"commit": commit, "is_dirty": bool(changes)}


def _git(folder: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_SECONDS,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
