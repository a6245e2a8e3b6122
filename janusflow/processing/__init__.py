"""Text and pixels to tensors and back: images, chat templates, image spans, the processor."""
