"""What is minimised: the three losses of the paper."""
