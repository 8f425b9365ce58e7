"""Places where attempts run; one file each, none imports another."""
