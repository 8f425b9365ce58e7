"""Many runs, each with a trouble of its own; one line for every fifty of them."""

import concurrent.futures
import queue
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from cerebelum_nb.testing.chaos.faults import small_disk
from cerebelum_nb.testing.chaos.kernels import Ended, Kernels
from cerebelum_nb.testing.chaos.storm import point_of, trouble_of

AT_ONCE: Final = 2
IN_A_KERNEL: Final = 10
REPORT_EVERY: Final = 50
_KERNEL_TIMEOUT_S: Final = 240.0


class Soaked(msgspec.Struct):
    """What came of it."""

    seed: int
    runs: int = 0
    broken: dict[int, list[str]] = msgspec.field(default_factory=dict)  # seed of a run -> what does not hold
    troubles: Counter[str] = msgspec.field(default_factory=Counter)

    def __str__(self) -> str:
        """One line."""
        kinds = ", ".join(f"{name} {n}" for name, n in sorted(self.troubles.items()))
        return f"{self.runs} runs from seed {self.seed}: {len(self.broken)} broken ({kinds})"


def soak(runs: int, seed: int, say: Callable[[str], object] = lambda _text: None) -> Soaked:
    """Run so many, with seeds from `seed` on.

    Args:
        say: Gets a line for every fifty, and one for each that is broken.
    """
    told, began = Soaked(seed), time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    kernels: queue.Queue[Kernels] = queue.Queue()
    made = [Kernels("cerebelum_nb.testing.chaos.storm", folder) for _ in range(AT_ONCE)]
    for each in made:
        kernels.put(each)
    try:
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            work = [pool.submit(part, kernels, folder) for part in _parts(range(seed, seed + runs))]
            for done in concurrent.futures.as_completed(work):
                for one in done.result():
                    _take(told, one, say)
                    if told.runs % REPORT_EVERY == 0:
                        say(f"{told}, {time.monotonic() - began:.0f} s")
    finally:
        for each in made:
            each.close()
        shutil.rmtree(folder, ignore_errors=True)
    return told


_Part = Callable[["queue.Queue[Kernels]", Path], list[dict[str, Any]]]


def _parts(seeds: range) -> Iterator[_Part]:
    """Runs whose kernel is killed have one of their own; the others share."""
    together: list[int] = []
    for seed in seeds:
        if trouble_of(seed) == "kill_kernel":
            yield _killed(seed)
        else:
            together.append(seed)
            if len(together) == IN_A_KERNEL:
                yield _stormy(tuple(together))
                together = []
    if together:
        yield _stormy(tuple(together))


def _take(told: Soaked, one: dict[str, Any], say: Callable[[str], object]) -> None:
    told.runs += 1
    told.troubles[one["trouble"]] += 1
    if one["broken"]:
        told.broken[one["seed"]] = one["broken"]
        say(f"seed {one['seed']} ({one['trouble']}) is broken: {'; '.join(one['broken'])}")


def _stormy(seeds: tuple[int, ...]) -> _Part:
    def run(kernels: "queue.Queue[Kernels]", folder: Path) -> list[dict[str, Any]]:
        mine = Path(tempfile.mkdtemp(prefix="s-", dir=folder))
        kernel = kernels.get()
        try:
            with small_disk(64) as disk:
                ended = kernel.run(
                    "storm", str(mine), seeds, str(disk.path) if disk.mounted else "", timeout_s=_KERNEL_TIMEOUT_S
                )
        finally:
            kernels.put(kernel)
        return _found(ended, seeds)

    return run


def _found(ended: Ended, seeds: tuple[int, ...]) -> list[dict[str, Any]]:
    """What the kernel said; where it could not, the first of its runs that says nothing is to blame."""
    said: list[dict[str, Any]] = ended.said or []
    told = {one["seed"]: one for one in said}
    for seed in seeds:
        told.setdefault(seed, {"seed": seed, "trouble": trouble_of(seed), "broken": []})
    if ended.error or ended.signal or ended.left:
        told[seeds[0]]["broken"] += [f"the kernel of seeds {seeds}: signal {ended.signal}, {ended.error}", *ended.left]
    return list(told.values())


def _killed(seed: int) -> _Part:
    def run(kernels: "queue.Queue[Kernels]", folder: Path) -> list[dict[str, Any]]:
        mine = Path(tempfile.mkdtemp(prefix="s-", dir=folder))
        kernel = kernels.get()
        try:
            first = kernel.run("begin", str(mine), seed, at=point_of(seed), timeout_s=_KERNEL_TIMEOUT_S)
            second = kernel.run("go_on", str(mine), seed, timeout_s=_KERNEL_TIMEOUT_S)
        finally:
            kernels.put(kernel)
        one = second.said or {"seed": seed, "trouble": "kill_kernel", "broken": [second.error]}
        one["broken"] += [*second.left, *([first.error] if first.error else [])]
        return [one]

    return run
