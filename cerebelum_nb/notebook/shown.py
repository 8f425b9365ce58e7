"""What a local step displays belongs to the step, as its prints do: it goes to its panel, not to some cell."""

from collections.abc import Mapping
from typing import Any

from cerebelum_nb import attempt
from cerebelum_nb.rich import bundle_of


def install(ip: Any) -> None:
    """Stand before the shell's display publisher; a second time changes nothing."""
    publisher = ip.display_pub
    if "publish" in vars(publisher):
        return
    publish, clear = publisher.publish, publisher.clear_output

    def published(data: Mapping[str, Any], *more: Any, **named: Any) -> None:
        here = attempt.here()
        if here is None:
            publish(data, *more, **named)
        else:
            here.displayed(bundle_of(data))

    def cleared(wait: bool = False) -> None:  # noqa: FBT001, FBT002  IPython's signature
        here = attempt.here()
        if here is None:
            clear(wait)
        else:
            here.displayed({})

    publisher.publish, publisher.clear_output = published, cleared
