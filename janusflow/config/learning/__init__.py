"""What a stage may say of ways to learn beside the paper's."""
