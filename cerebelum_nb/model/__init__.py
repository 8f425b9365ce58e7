"""Frozen data and the fold: no I/O, no clock, no asyncio."""
