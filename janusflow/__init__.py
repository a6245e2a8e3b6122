"""JanusFlow: one model that sees and draws."""
