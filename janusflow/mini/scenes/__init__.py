"""Synthetic scenes: what they hold, how they are rendered and found again."""
