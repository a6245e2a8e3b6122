"""The release's checkpoint and ours: one name table read both ways, loading, saving, converting."""
