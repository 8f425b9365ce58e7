"""Build the front end only when its bundle is missing: never needed for a checkout, where it is committed."""

import pathlib
import shutil
import subprocess
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class FrontEndHook(BuildHookInterface[Any]):
    """Runs npm where ``cerebelum_nb/notebook/static/widget.js`` is not there yet."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002  the interface's signature
        """Build the bundle if it is missing."""
        root = pathlib.Path(self.root)
        if (root / "cerebelum_nb" / "notebook" / "static" / "widget.js").exists():
            return
        npm = shutil.which("npm")
        if npm is None:
            raise RuntimeError(
                "the widget's bundle is missing and npm was not found: install node >= 20, or use a wheel"
            )
        subprocess.check_call([npm, "ci"], cwd=root / "js")  # noqa: S603
        subprocess.check_call([npm, "run", "build"], cwd=root / "js")  # noqa: S603
