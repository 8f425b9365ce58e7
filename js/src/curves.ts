/** What waited for what, for lines in sight: the need that ended last, and all of them for the selected row. */

import { type Frame, position } from "./layout";
import type { Store } from "./model";
import type { Outline } from "./outline";

const MOST_CURVES = 160;

/** Two paths: of all rows, and of the selected one. */
export function drawnCurves(
  f: Frame,
  store: Store,
  outline: Outline,
  sight: { first: number; end: number },
  selected: number | null,
): [string, string] {
  const thin: string[] = [];
  const lit: string[] = [];
  const y = (place: number, below: number): string =>
    (outline.top(place) - outline.top(sight.first) + (0.5 + 0.26 * below) * outline.heightOf(place)).toFixed(1);
  const ended = (id: number): number => store.row(id)?.segments.at(-1)?.end ?? Number.NEGATIVE_INFINITY;
  for (let i = sight.first; i < sight.end && thin.length < MOST_CURVES; i++) {
    const row = store.row(outline.lines[i]?.id ?? -1);
    const begun = row?.segments.at(-1); // its last attempt is the one that waited for its needs' last ends
    if (!row || !begun) continue;
    const latest = row.needs.reduce((a, b) => (ended(b) > ended(a) ? b : a), row.needs[0] ?? -1);
    for (const need of row.needs.length > 24 ? [latest] : row.needs) {
      const chosen = row.id === selected || need === selected;
      const from = outline.shown(need) ?? -1;
      if ((!chosen && need !== latest) || from < sight.first || from >= sight.end || from === i) continue;
      const [x1, x2] = [position(f, ended(need)), position(f, begun.start ?? begun.queued)];
      if (!(x1 >= f.left) || x2 < f.left || x1 > f.width || x2 > f.width) continue;
      const down = from < i ? 1 : -1;
      // Along the bottom of its own row, then down: never across the bars between.
      const turn = Math.max(x1, x2 - 8).toFixed(1);
      const [y1, y2, b] = [y(from, down), y(i, -down), x2.toFixed(1)];
      const d = `M${x1.toFixed(1)} ${y1}H${turn}C${Number(turn) + 7} ${y1} ${Number(b) - 5} ${y2} ${b} ${y2}`;
      (chosen ? lit : thin).push(d);
    }
  }
  return [thin.join(""), lit.join("")];
}
