"""``python -m cerebelum_nb.testing.chaos --runs 500 --seed 7``: runs by dice, broken by dice; seeds are printed."""

import argparse
import random
import sys

from cerebelum_nb.testing.chaos.soak import soak


def main() -> int:
    """Throw the dice; 1 if anything did not hold."""
    parser = argparse.ArgumentParser(prog="python -m cerebelum_nb.testing.chaos", description=__doc__)
    parser.add_argument("--runs", type=int, default=500)
    parser.add_argument("--seed", type=int, default=None, help="of the first run; the others count on from it")
    asked = parser.parse_args()
    seed = asked.seed if asked.seed is not None else random.randrange(10**6)  # noqa: S311  dice, no secret
    told = soak(asked.runs, seed, lambda text: print(text, flush=True))  # noqa: T201  what it is for
    print(told)  # noqa: T201
    for one in told.broken:
        print(f"again: python -m cerebelum_nb.testing.chaos --runs 1 --seed {one}")  # noqa: T201
    return 1 if told.broken else 0


if __name__ == "__main__":
    sys.exit(main())
