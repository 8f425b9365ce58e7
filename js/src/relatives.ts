/** What a step waits for and what waits for it, all the way; and what holds the run up. */

import type { Row, Store } from "./model";

/** The step, everything it needs, and everything that needs it; null for a step without any. */
export function relatives(rows: readonly Row[], id: number): ReadonlySet<number> | null {
  const needs = new Map<number, readonly number[]>();
  const children = new Map<number, number[]>();
  for (const row of rows) {
    needs.set(row.id, row.needs);
    for (const need of row.needs) {
      const known = children.get(need);
      if (known) known.push(row.id);
      else children.set(need, [row.id]);
    }
  }
  const found = new Set([id]);
  for (const next of [needs, children]) {
    const seen = new Set([id]);
    const look = [id];
    for (let at = look.pop(); at !== undefined; at = look.pop()) {
      for (const other of next.get(at) ?? []) {
        if (seen.has(other)) continue;
        seen.add(other);
        found.add(other);
        look.push(other);
      }
    }
  }
  return found.size > 1 ? found : null;
}

/** Found again only where something has changed. */
export class Kin {
  private of: readonly unknown[] = [];
  private ids: ReadonlySet<number> | null = null;
  private path: readonly number[] | undefined;
  private held: ReadonlySet<number> = new Set();

  constructor(private readonly store: Store) {}

  /** Those of the selected step; null where none is selected, or it has none. */
  relatives(selected: number | null): ReadonlySet<number> | null {
    const { rows } = this.store;
    const of = [selected, rows, rows.length];
    if (of.some((what, i) => what !== this.of[i])) {
      this.of = of;
      this.ids = selected === null ? null : relatives(rows, selected);
    }
    return this.ids;
  }

  /** The steps on the critical path. */
  get critical(): ReadonlySet<number> {
    const path = this.store.header?.critical;
    if (this.path !== path) [this.path, this.held] = [path, new Set(path)];
    return this.held;
  }
}
