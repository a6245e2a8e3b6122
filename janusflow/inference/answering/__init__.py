"""Answering: conversations to text."""
