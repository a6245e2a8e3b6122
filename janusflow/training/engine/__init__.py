"""The one training loop: optimizers, averages, checkpoints, processes, guard."""
