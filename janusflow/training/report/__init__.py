"""What a run tells: log, trackers, previews, provenance."""
