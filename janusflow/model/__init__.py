"""The unified model: understanding tower, generation encoder and decoder, and their LLM."""
