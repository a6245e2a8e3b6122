"""What Dockerfile and compose.yaml name is there: files, extras, stages, options, ports."""

import re
import shlex
import tomllib
from fnmatch import fnmatch
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.main import get_command

from janusflow.cli.main import COMMANDS
from janusflow.config.serving import KEY_VARIABLE, ServingConfig

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text(encoding="utf-8"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.*)$", DOCKERFILE, flags=re.MULTILINE)


def options_of(command: str) -> set[str]:
    app = typer.Typer()
    app.command()(import_module(COMMANDS[command]).command)
    return {name for each in get_command(app).params for name in each.opts}


def test_what_is_copied_is_there_and_let_through():
    copied = [source for line in instructions("COPY") for source in shlex.split(line)[:-1]]
    ignored = (ROOT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8").split()
    let_through = [line[1:] for line in ignored if line.startswith("!")]
    assert ignored[0] == "*"
    assert sorted(copied) == sorted(let_through)
    assert all((ROOT / name).exists() for name in copied)


def test_the_extras_that_are_installed_exist_and_torch_is_the_packages():
    extras = re.findall(r"\.\[([\w,]+)\]", DOCKERFILE)
    assert extras
    assert set(",".join(extras).split(",")) <= PROJECT["optional-dependencies"].keys()
    installed = set(re.findall(r'"(torch[^"]*)"', DOCKERFILE))
    assert installed == {each for each in PROJECT["dependencies"] if each.startswith("torch>")}


def test_the_command_has_the_options_that_it_is_started_with():
    (entry,), (default,) = instructions("ENTRYPOINT"), instructions("CMD")
    words = [*yaml.safe_load(entry), *yaml.safe_load(default)]
    assert words[0] in PROJECT["scripts"]
    assert {word for word in words if word.startswith("--")} <= options_of(words[1])
    (port,) = instructions("EXPOSE")
    assert words[words.index("--port") + 1] == port
    (check,) = instructions("HEALTHCHECK")
    assert f"127.0.0.1:{port}/health" in check


def service(name: str) -> dict[str, Any]:
    """A service with what it takes from another."""
    own = COMPOSE["services"][name]
    parent = own.get("extends")
    return {**(service(parent["service"]) if parent else {}), **own}


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_built_from_a_stage_that_exists(name: str):
    build = service(name)["build"]
    context = ROOT / "deploy" / build["context"]
    assert (context / build["dockerfile"]).resolve() == ROOT / "deploy/Dockerfile"
    stages = re.findall(r"AS ([\w-]+)$", DOCKERFILE, flags=re.MULTILINE)
    assert f"torch-{build['args']['TORCH']}" in stages
    assert service(name)["image"].endswith(f":{build['args']['TORCH']}")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_is_reached_from_this_machine_alone_and_has_time_to_drain(name: str):
    found = service(name)
    (port,) = instructions("EXPOSE")
    assert all(fnmatch(each, f"127.0.0.1:*:{port}") for each in found["ports"])
    assert KEY_VARIABLE in found["environment"]
    assert int(found["stop_grace_period"].removesuffix("s")) > ServingConfig().drain_seconds
