"""Benchmarks of drawing, their judges, and distances of sets of images."""
