"""The unified model: understanding tower, generation encoder and decoder, and the LLM they share."""
