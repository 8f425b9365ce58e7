"""A worker: a process that takes attempts from Core, one at a time."""
