"""What stays on disk, and what is remembered of it."""
