"""Mini: the small JanusFlow that ships inside the package, and the synthetic scenes it learns from."""
