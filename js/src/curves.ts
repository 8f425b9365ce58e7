/** What waited for what: the need that ended last, the way of the selected step, and what holds the run up. Pure. */

import type { Store } from "./model";
import type { Outline } from "./outline";
import { type Frame, position } from "./time";

const MOST_CURVES = 160;
const MANY_NEEDS = 24;
const WIDEST_FAN = 5;
const JITTER_S = 1e-3; // clocks of two machines

export interface Curves {
  /** Of all rows in sight; none while a step is selected that has relatives. */
  thin: string;
  /** Between the selected step's relatives. */
  near: string;
  /** From and to the selected step itself. */
  lit: string;
  /** Along the critical path. */
  critical: string;
}

/** Curves between lines in sight; those of the selected step go on beyond. */
export function drawnCurves(
  f: Frame,
  store: Store,
  outline: Outline,
  sight: { first: number; end: number; top: number },
  selected: number | null,
  relatives: ReadonlySet<number> | null,
  critical: ReadonlySet<number>,
): Curves {
  const found: Record<keyof Curves, string[]> = { thin: [], near: [], lit: [], critical: [] };
  const [first, last] = [outline.top(sight.first) - sight.top, outline.top(sight.end) - sight.top];
  const y = (place: number, below: number): number => {
    const middle = outline.top(place) - sight.top + (0.5 + 0.26 * below) * outline.heightOf(place);
    return Math.min(last + 8, Math.max(first - 8, middle));
  };
  const ended = (id: number): number => store.row(id)?.segments.at(-1)?.end ?? Number.NEGATIVE_INFINITY;

  const curve = (need: number, id: number, kind: keyof Curves): void => {
    // The attempt that waited for it: of those that began after it had ended, the first.
    const tried = store.row(id)?.segments;
    const begun = tried?.find((s) => (s.start ?? s.queued) >= ended(need) - JITTER_S) ?? tried?.at(-1);
    const [from, to] = [outline.shown(need), outline.shown(id)];
    if (!begun || from === undefined || to === undefined || from === to) return;
    const inSight = (place: number): boolean => place >= sight.first && place < sight.end;
    if (kind === "lit" ? !inSight(from) && !inSight(to) : !inSight(from) || !inSight(to)) return;
    const [x1, x2] = [position(f, ended(need)), position(f, begun.start ?? begun.queued)];
    if (!(x1 >= f.left) || x2 < f.left || x1 > f.width || x2 > f.width) return;
    const down = from < to ? 1 : -1;
    // Along the bottom of its own row, then down: never across the bars between.
    const turn = Math.max(x1, x2 - 8);
    const [y1, y2] = [y(from, down), y(to, -down)];
    found[kind].push(`M${n(x1)} ${n(y1)}H${n(turn)}C${n(turn + 7)} ${n(y1)} ${n(x2 - 5)} ${n(y2)} ${n(x2)} ${n(y2)}`);
  };

  const rows = outline.lines.slice(sight.first, sight.end).flatMap(({ id }) => store.row(id) ?? []);
  const begun = rows.filter((row) => row.segments.length && row.needs.length);
  const latest = new Map(begun.map((row) => [row, row.needs.reduce((a, b) => (ended(b) > ended(a) ? b : a))]));
  const fan = new Map<number, number>();
  for (const need of latest.values()) fan.set(need, (fan.get(need) ?? 0) + 1);
  for (const row of begun) {
    if (found.thin.length + found.near.length >= MOST_CURVES) break;
    const last = latest.get(row);
    for (const need of row.needs.length > MANY_NEEDS ? [last ?? -1] : row.needs) {
      if (row.id === selected || need === selected) continue; // below, wherever the other end is
      if (critical.has(row.id) && critical.has(need) && need === last) curve(need, row.id, "critical");
      else if (relatives?.has(row.id) && relatives.has(need)) curve(need, row.id, "near");
      // That many begin after one step is plain to see; as curves they would only hide the bars.
      else if (!relatives && need === last && (fan.get(need) ?? 0) <= WIDEST_FAN) curve(need, row.id, "thin");
    }
  }
  if (selected !== null && relatives) {
    const near = (id: number): boolean => relatives.has(id);
    for (const need of store.row(selected)?.needs ?? []) curve(need, selected, "lit");
    for (const row of store.rows) if (near(row.id) && row.needs.includes(selected)) curve(selected, row.id, "lit");
  }
  const { thin, near, lit } = found;
  return { thin: thin.join(""), near: near.join(""), lit: lit.join(""), critical: found.critical.join("") };
}

function n(value: number): string {
  return String(Math.round(value * 10) / 10);
}
