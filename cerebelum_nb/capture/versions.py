"""What a pickled function can be read with: the same Python, and the same generation of cloudpickle."""

import sys

from cerebelum_nb.errors import CaptureError


def mine() -> dict[str, str]:
    """The versions here that decide it."""
    import cloudpickle  # noqa: PLC0415  functions of modules travel without it

    return {"Python": f"{sys.version_info.major}.{sys.version_info.minor}", "cloudpickle": cloudpickle.__version__}


def check(theirs: dict[str, str]) -> None:
    """Refuse what was pickled with versions that do not fit; before it is read.

    Raises:
        CaptureError: Names what differs, on both sides.
    """
    if not theirs:
        return  # it goes by name
    here = mine()
    differs = [name for name, version in theirs.items() if _generation(name, version) != _generation(name, here[name])]
    if differs:
        worker = " and ".join(f"{name} {here[name]}" for name in differs)
        kernel = " and ".join(f"{name} {theirs[name]}" for name in differs)
        raise CaptureError(
            f"the worker has {worker}, where the notebook has {kernel}: it cannot read the step. Restart the kernel, "
            "so that both load the same."
        )


def _generation(name: str, version: str) -> str:
    return version.split(".", maxsplit=1)[0] if name == "cloudpickle" else version
