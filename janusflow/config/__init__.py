"""Torch-free settings and error types."""
