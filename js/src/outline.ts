/** Which lines the chart has: tasks, and nested workflows that fold. Pure: no DOM, no clock. */

import type { Group, Row } from "./model";
import { type Paint, paint } from "./palette";

/** A group of more tasks is closed until somebody opens it. */
export const OPEN_UP_TO = 12;

export interface Line {
  /** A task's number; groups count down from -1. */
  id: number;
  depth: number;
  /** The group around it, as the id of that group's line; 0 where there is none. */
  parent: number;
}

export const groupId = (place: number): number => -1 - place;
export const groupPlace = (id: number): number => -1 - id;

export function isOpen(group: Group, folds: ReadonlyMap<string, boolean>, filtered = false): boolean {
  const [name, first, stop] = group;
  return folds.get(name) ?? (filtered || stop - first <= OPEN_UP_TO);
}

/** A name without the group that it stands in. */
export function shortName(name: string, group: string): string {
  return group && name.startsWith(`${group}/`) ? name.slice(group.length + 1) : name;
}

export function groupAround(name: string, groups: readonly Group[]): string {
  const cut = name.lastIndexOf("/");
  const outer = cut < 0 ? "" : name.slice(0, cut);
  return groups.some((g) => g[0] === outer) ? outer : "";
}

export class Outline {
  readonly lines: Line[] = [];
  /** Where each line begins, in px; the last one is the height of all. */
  readonly tops: number[] = [0];
  /** How many steps there are in the lines, closed groups included. */
  found = 0;
  private readonly places = new Map<number, number>();

  /**
   * `height` gives a line's height; rows stand in plan order, their groups side by side. `wanted` leaves the others
   * out, and groups without any; what it finds is not hidden in a group that nobody closed.
   */
  constructor(
    rows: readonly Row[],
    private readonly groups: readonly Group[],
    folds: ReadonlyMap<string, boolean>,
    height: (row: Row | null) => number,
    wanted: ((row: Row) => boolean) | null = null,
  ) {
    const order = groups.map((_, i) => i).sort((a, b) => first(groups, a) - first(groups, b) || a - b);
    const around: number[] = [];
    let next = 0;
    let hiddenUpTo = -1;
    const add = (id: number, row: Row | null): void => {
      const inner = around.at(-1);
      this.places.set(id, this.lines.length);
      this.lines.push({ id, depth: around.length, parent: inner === undefined ? 0 : groupId(inner) });
      this.tops.push((this.tops.at(-1) ?? 0) + height(row));
    };
    for (const row of rows) {
      if (wanted && !wanted(row)) continue;
      this.found += row.kind === "decision" ? 0 : 1;
      while (around.length && stop(groups, around.at(-1)) <= row.id) around.pop();
      for (let g = order[next]; g !== undefined && first(groups, g) <= row.id; g = order[++next]) {
        const group = groups[g];
        if (!group || group[2] <= row.id || row.id < hiddenUpTo) continue; // empty, or within a closed one
        add(groupId(g), null);
        if (isOpen(group, folds, wanted !== null)) around.push(g);
        else hiddenUpTo = group[2];
      }
      if (row.id >= hiddenUpTo) add(row.id, row);
    }
  }

  get height(): number {
    return this.tops.at(-1) ?? 0;
  }

  place(id: number): number | undefined {
    return this.places.get(id);
  }

  /** The line that stands for a task or group: its own, or that of the closed group around it. */
  shown(id: number): number | undefined {
    const own = this.places.get(id);
    if (own !== undefined) return own;
    for (const group of this.around(id)) {
      const place = this.places.get(groupId(group));
      if (place !== undefined) return place;
    }
    return undefined;
  }

  /** The groups around a task or group, the innermost first, by their places. */
  around(id: number): number[] {
    const [, from, to] = this.groups[groupPlace(id)] ?? ["", id, id + 1];
    const found: number[] = [];
    this.groups.forEach(([, begin, end], place) => {
      if (begin <= from && end >= to && groupId(place) !== id) found.unshift(place);
    });
    return found;
  }

  top(place: number): number {
    return this.tops[place] ?? 0;
  }

  heightOf(place: number): number {
    return this.top(place + 1) - this.top(place);
  }

  /** The lines [first, end) to have in the document: those in sight, and some on both sides. */
  visible(scrollTop: number, viewport: number, overscan: number): { first: number; end: number } {
    const total = this.lines.length;
    const first = Math.max(0, Math.min(total, this.at(scrollTop)) - overscan);
    const end = Math.min(total, this.at(scrollTop + viewport - 0.01) + 1 + overscan);
    return { first, end: Math.max(first, end) };
  }

  /** From where to where one scrolls to have a line in sight: no further than needed. */
  revealed(place: number, scrollTop: number, seen: number): number {
    const [begins, ends] = [this.top(place), this.top(place + 1)];
    return begins < scrollTop ? begins : Math.max(scrollTop, ends - seen);
  }

  /** The place of the line at a height. */
  private at(y: number): number {
    let [low, high] = [0, this.lines.length];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.top(middle) <= y) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}

function first(groups: readonly Group[], place: number): number {
  return groups[place]?.[1] ?? 0;
}

function stop(groups: readonly Group[], place: number | undefined): number {
  return place === undefined ? 0 : (groups[place]?.[2] ?? 0);
}

export interface Lane {
  paint: Paint;
  /** Seconds; an end of null is now. Ordered, without overlap. */
  spans: (readonly [from: number, to: number | null])[];
}

/** A nested workflow as one: when it ran, how it stands, and where work was going on. */
export interface Summary {
  status: string;
  from: number | null;
  to: number | null; // null: not before now
  done: number;
  total: number;
  lanes: Lane[];
}

const GOOD: ReadonlySet<string> = new Set(["succeeded", "reused", "cached", "undone"]);

export function summarise(rows: readonly Row[]): Summary {
  const steps = rows.filter((row) => row.kind === "step");
  const count = new Map<string, number>();
  for (const row of rows) count.set(row.status, (count.get(row.status) ?? 0) + 1);
  const has = (...all: string[]): boolean => all.some((status) => count.has(status));
  const good = steps.filter((row) => GOOD.has(row.status)).length;
  // What a route passed by was never asked for; what a failure keeps from running was.
  const passed = has("failed", "cancelled") ? 0 : steps.filter((row) => row.status === "skipped").length;
  const segments = rows.flatMap((row) => row.segments);
  const begins = segments.flatMap((s) => (s.start === null ? [] : [s.start]));
  const live = has("submitted", "running", "sleeping", "approval");
  const left = has("waiting", "ready");
  let status = "succeeded";
  if (has("approval")) status = "approval";
  else if (has("submitted", "running")) status = "running";
  else if (has("sleeping")) status = "sleeping";
  else if (has("failed")) status = "failed";
  else if (has("cancelled")) status = "cancelled";
  else if (left) status = begins.length ? "running" : "waiting";
  else if (has("undone")) status = "undone";
  else if (good === 0 && steps.length) status = "skipped";
  else if (good > 0 && !has("succeeded")) status = has("cached") ? "cached" : "reused";
  const from = begins.length ? begins.reduce((a, b) => Math.min(a, b)) : null;
  const to = segments.reduce((a, s) => Math.max(a, s.end ?? 0), from ?? 0);
  return {
    status,
    from,
    to: live || (left && status === "running") ? null : to,
    done: good,
    total: steps.length - passed,
    lanes: lanes(rows),
  };
}

const MOST_LANES = 4; // of a closed group's bar: more could not be told apart

function lanes(rows: readonly Row[]): Lane[] {
  const found = new Map<Paint, (readonly [number, number | null])[]>();
  for (const row of rows) {
    if (row.kind !== "step") continue;
    for (const s of row.segments) {
      if (s.start === null) continue;
      const kind = paint(s);
      const known = found.get(kind);
      if (known) known.push([s.start, s.end]);
      else found.set(kind, [[s.start, s.end]]);
    }
  }
  const rank = (kind: Paint): string => (kind === "local" ? "0" : kind === "dist" ? "1" : kind);
  const order = [...found].sort((a, b) => (rank(a[0]) < rank(b[0]) ? -1 : 1)).slice(0, MOST_LANES);
  return order.map(([kind, spans]) => ({ paint: kind, spans: merged(spans) }));
}

function merged(spans: (readonly [number, number | null])[]): (readonly [number, number | null])[] {
  const found: (readonly [number, number | null])[] = [];
  for (const [from, to] of spans.sort((a, b) => a[0] - b[0])) {
    const last = found.at(-1);
    if (last && (last[1] === null || from <= last[1])) {
      found[found.length - 1] = [last[0], last[1] === null || to === null ? null : Math.max(last[1], to)];
    } else found.push([from, to]);
  }
  return found;
}
