"""Many requests at once: images and answers under way."""
