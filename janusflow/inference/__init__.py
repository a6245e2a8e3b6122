"""The engine behind `jf`: load a model, draw pictures from words, answer about pictures."""
