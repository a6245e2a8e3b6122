"""Which samples a step holds, and how they become packed rows of tokens."""
