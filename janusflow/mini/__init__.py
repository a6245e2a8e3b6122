"""Mini: the small JanusFlow inside the package, and the synthetic scenes it learns from."""
