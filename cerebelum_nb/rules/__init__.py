"""What is decided about a run, without running it. Pure."""
