"""The curl commands of docs/serving.md, run as they are printed."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from serving_calls import listening

from janusflow.config.serving import ServingConfig
from janusflow.inference.loading import load
from janusflow.serving.app import create_app

PAGE = Path(__file__).parents[2] / "docs" / "serving.md"
ADDRESS = "http://127.0.0.1:8000"
BLOCKS = re.findall(r"```bash\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
COMMANDS = re.findall(r"^curl (?:.*\\\n)*.*", "\n".join(BLOCKS), flags=re.MULTILINE)


@pytest.fixture(scope="module")
def mini(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """Where mini is served, and a folder to call it from."""
    with listening(create_app(load("mini"), ServingConfig(port=0))) as url:
        yield url, tmp_path_factory.mktemp("here")


def test_there_are_commands():
    assert len(COMMANDS) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_of_the_docs_works(mini: tuple[str, Path], command: str):
    url, folder = mini
    assert ADDRESS in command
    ran = subprocess.run(
        ["bash", "-c", command.replace("curl ", "curl --fail-with-body ", 1).replace(ADDRESS, url)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[:1000]
    if '"stream": true' in command:
        assert "data: " in ran.stdout
    elif ran.stdout:
        assert "error" not in json.loads(ran.stdout)
