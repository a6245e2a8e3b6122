"""Text and pixels to tensors and back: pictures, chat templates, image spans, the processor."""
