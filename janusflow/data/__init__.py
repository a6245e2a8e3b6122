"""Samples, and the batches the objective reads."""
