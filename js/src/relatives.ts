/** What a step waits for and what waits for it, all the way. Pure. */

import type { Row } from "./model";

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
