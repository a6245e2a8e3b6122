"""Many requests at once: images and answers in flight."""
