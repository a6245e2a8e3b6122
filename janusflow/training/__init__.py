"""One training loop: a stage or a fine-tune is a configuration of it."""
