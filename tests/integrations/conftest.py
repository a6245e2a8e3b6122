"""The nodes, loaded as ComfyUI loads them, over a stand-in of its interface."""

import asyncio
import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest

from janusflow.inference.pipeline import JanusFlow

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1]))

import comfy_interface
from tiny_model import tiny_janusflow

NODES = Path(__file__).parents[2] / "integrations" / "comfyui"


@pytest.fixture(scope="session")
def tiny() -> JanusFlow:
    """Random weights, and latents scaled by 0.5."""
    return tiny_janusflow()


@pytest.fixture(scope="session")
def package() -> Any:
    """The folder as a package under a name of ComfyUI's choice."""
    comfy_interface.install()
    spec = importlib.util.spec_from_file_location("custom_nodes_janusflow", NODES / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def nodes(package: Any) -> dict[str, Any]:
    """The node classes by their ids."""

    async def listed() -> list[Any]:
        extension = await package.comfy_entrypoint()
        return await extension.get_node_list()

    return {node.GET_SCHEMA().node_id: node for node in asyncio.run(listed())}
