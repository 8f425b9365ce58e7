"""The table that the measurements are printed in."""


def line(what: str, value: float, unit: str, beside: str) -> None:
    """One row."""
    print(f"{what:<46}{value:>10.2f} {unit:<10} {beside}".rstrip())
