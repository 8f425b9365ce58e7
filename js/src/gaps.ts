/** When nothing ran: looked for now and then, and not for every picture. */

import type { Compared } from "./compare";
import type { Store } from "./model";
import { cuts, Squeeze } from "./time";

const EVERY_MS = 1000;
const SELDOM_MS = 5000; // while they are not cut, but only offered to be

export class Gaps {
  private of: unknown = null; // the snapshot
  private with: unknown = null; // the run that it is compared with
  private at = Number.NEGATIVE_INFINITY;
  private made: Squeeze | null = null;

  constructor(private readonly store: Store) {}

  forget(): void {
    this.of = null;
  }

  /** A time axis without the gaps; null where there are none worth a cut. */
  found(now: number, compared: Compared | null, cut: boolean): Squeeze | null {
    const { store } = this;
    const at = performance.now();
    const due = !store.running || at - this.at >= (cut ? EVERY_MS : SELDOM_MS);
    const stale = this.of === null || this.with !== compared || (this.of !== store.snapshot && due);
    if (stale) {
      const gaps = cuts([...store.rows, ...(compared?.answer.rows ?? [])], Math.max(now, compared?.end ?? 0));
      this.made = gaps.length ? new Squeeze(gaps) : null;
      [this.of, this.with, this.at] = [store.snapshot, compared, at];
    }
    return this.made;
  }
}
