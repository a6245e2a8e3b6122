"""The engine behind `jf`: load a model, draw images from words, answer about images."""
