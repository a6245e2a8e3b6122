"""What is wrong with training data, and what the model will get of it."""
