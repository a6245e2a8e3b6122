"""Adapters of a frozen model: peft's layers inside it, and peft's folders."""
