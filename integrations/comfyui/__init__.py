"""JanusFlow's nodes for ComfyUI, in its V3 schema: load, see, draw, edit."""

from .nodes import comfy_entrypoint

__all__ = ["comfy_entrypoint"]
