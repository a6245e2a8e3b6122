"""Drawing: prompts to images."""
