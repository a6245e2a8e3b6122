"""From a stage recipe to a model, its trainable parts and its batches."""
