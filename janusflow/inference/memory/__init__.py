"""Less memory: offloading and quantization."""
