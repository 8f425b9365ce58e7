/** Rows, width and zoom in; pixels out. Pure: no DOM, no clock. */

import { barLabel, paint } from "./format";
import type { Row, Segment } from "./model";

export const AXIS_HEIGHT = 30;
const LABEL_CHAR = 6.2; // px of an average character at 11px
const NAME_CHAR = 7.5; // px of an average character at 12.5px, bold
const MARGIN = 14;

/** What part of the run is looked at, in seconds; null fits the whole run. */
export type Zoom = { from: number; to: number } | null;

export interface Frame {
  width: number;
  left: number; // px where `from` is drawn; names stand before it
  right: number; // px where `to` is drawn; labels may stand after it
  from: number;
  to: number;
}

export interface Tick {
  x: number;
  label: string;
}

export type Paint = "local" | "dist" | "other" | "bad" | "badhatch" | "grey" | "none";

export interface Mark {
  kind: "bar" | "queue" | "cross" | "dot" | "ghost";
  x: number;
  width: number;
  paint: Paint;
  past: boolean; // an earlier attempt: paler
}

export interface Label {
  text: string;
  x: number;
  anchor: "start" | "end";
  inside: boolean;
}

export interface Picture {
  marks: Mark[];
  label: Label;
}

export function rowHeight(total: number): number {
  return total <= 12 ? 34 : 26;
}

/** The next round length above `seconds`: the axis of a running run grows in steps, so that bars do not crawl back. */
export function headroom(seconds: number): number {
  const wanted = Math.max(seconds * 1.04, 0.02);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8, 10].find((s) => s * power >= wanted) ?? 10;
  return step * power;
}

export function frame(width: number, longestName: number, zoom: Zoom, now: number, running: boolean): Frame {
  const names = Math.min(longestName * NAME_CHAR + 2 * MARGIN, Math.max(96, width * 0.32), 260);
  const left = Math.round(Math.max(names, 72));
  const room = width - left;
  const right = Math.round(width - Math.min(170, Math.max(86, room * 0.22)));
  const end = running ? headroom(now) : Math.max(now, 0.001);
  return { width, left, right: Math.max(right, left + 20), from: zoom?.from ?? 0, to: zoom?.to ?? end };
}

export function position(f: Frame, seconds: number): number {
  return f.left + ((seconds - f.from) / (f.to - f.from)) * (f.right - f.left);
}

export function timeAt(f: Frame, x: number): number {
  return f.from + ((x - f.left) / (f.right - f.left)) * (f.to - f.from);
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** A round distance between ticks, at least `least` seconds: decimal below a second, clock-like above. */
export function tickStep(least: number): number {
  if (least > 86400) return 86400 * Math.ceil(least / 86400);
  if (least > 1) return STEPS.find((s) => s >= least) ?? 86400;
  const power = 10 ** Math.floor(Math.log10(least) + 1e-9);
  return Number((([1, 2, 5, 10].find((s) => s * power >= least * (1 - 1e-9)) ?? 10) * power).toPrecision(3));
}

/** Ticks at round times; the unit stands at the last one, as one unit holds for the whole axis. */
export function ticks(f: Frame): Tick[] {
  const perTick = 74;
  const end = Math.min(f.to + ((f.to - f.from) * (f.width - f.right - 34)) / (f.right - f.left), f.to * 1.3);
  const step = tickStep(((f.to - f.from) * perTick) / (f.right - f.left));
  const [unit, seconds] = step < 1 && end < 1.1 ? ["ms", 0.001] : step < 60 && end < 600 ? ["s", 1] : ["min", 60];
  const digits = Math.max(0, -Math.floor(Math.log10(step / seconds) + 1e-9));
  const found: Tick[] = [];
  for (let i = Math.ceil(f.from / step - 1e-9); i * step <= end && found.length < 60; i++) {
    const value = (i * step) / seconds;
    found.push({ x: position(f, i * step), label: value ? value.toFixed(digits) : "0" });
  }
  const last = found.at(-1);
  if (last) last.label += ` ${unit}`;
  return found;
}

/** The rows [first, end) to have in the document: those in sight, and some on both sides for a quick scroll. */
export function visible(
  scrollTop: number,
  viewport: number,
  height: number,
  total: number,
  overscan = 8,
): { first: number; end: number } {
  const first = Math.max(0, Math.min(total, Math.floor(scrollTop / height)) - overscan);
  const end = Math.min(total, Math.ceil((scrollTop + viewport) / height) + overscan);
  return { first, end: Math.max(first, end) };
}

/** When a row without attempts of its own would have begun: at the end of what it needs. */
export function begin(row: Row, find: (id: number) => Row | undefined): number {
  let at: Row | undefined = row;
  for (let depth = 0; at && depth < 64; depth++) {
    const needs: Row[] = at.needs.map(find).filter((r): r is Row => r !== undefined);
    const ends = needs.map((need) => need.segments.at(-1)?.end ?? -1);
    const latest = Math.max(-1, ...ends);
    if (latest >= 0) return latest;
    at = needs[0];
  }
  return 0;
}

function paintOf(segment: Segment): Paint {
  if (segment.outcome === "cancelled") return "grey";
  if (segment.outcome !== "ok" && segment.outcome !== "running") return segment.remote ? "badhatch" : "bad";
  return paint(segment);
}

function clipped(f: Frame, from: number, to: number, least: number): { x: number; width: number } | null {
  const a = position(f, from);
  const b = Math.max(position(f, to), a + least);
  const limit = f.width + 4;
  if (b < f.left || a > limit) return null;
  const x = Math.max(a, f.left - (a < f.left ? 1 : 0));
  return { x, width: Math.max(1, Math.min(b, limit) - x) };
}

function segmentMarks(f: Frame, segment: Segment, past: boolean, now: number): Mark[] {
  const marks: Mark[] = [];
  const begun = segment.start ?? segment.end ?? now;
  const queue = clipped(f, segment.queued, begun, 0);
  if (queue && (queue.width >= 3 || segment.start === null) && begun > segment.queued) {
    marks.push({ kind: "queue", ...queue, width: Math.max(3, queue.width), paint: paint(segment), past });
  }
  if (segment.start === null) return marks;
  const bar = clipped(f, segment.start, segment.end ?? now, 3);
  if (!bar) return marks;
  marks.push({ kind: "bar", ...bar, paint: paintOf(segment), past });
  if (segment.end !== null && !["ok", "running", "cancelled"].includes(segment.outcome)) {
    marks.push({ kind: "cross", x: bar.x + bar.width, width: 0, paint: "bad", past: false });
  }
  return marks;
}

/** After the bar if there is room, with fewer words if need be; else before it, else on it. */
function labelAt(f: Frame, marks: readonly Mark[], words: { parts: string[]; extra: number }): Label {
  const first = marks[0];
  const last = marks.at(-1);
  if (!first || !last) return { text: "", x: f.left, anchor: "start", inside: false };
  const after = last.x + last.width + (last.kind === "cross" ? 10 : 7);
  let text = "";
  for (let dropped = 0; dropped <= words.extra; dropped++) {
    text = words.parts.slice(0, words.parts.length - dropped).join(" · ");
    if (after + text.length * LABEL_CHAR <= f.width - 4) return { text, x: after, anchor: "start", inside: false };
  }
  if (first.x - 8 - text.length * LABEL_CHAR >= f.left) return { text, x: first.x - 8, anchor: "end", inside: false };
  return { text, x: Math.min(last.x + last.width, f.width) - 8, anchor: "end", inside: true };
}

/** One row as drawn. `find` gives the rows it needs: they place a row that never ran. */
export function picture(f: Frame, row: Row, now: number, find: (id: number) => Row | undefined): Picture {
  const marks: Mark[] = [];
  row.segments.forEach((segment, i) => {
    const again = row.status === "waiting" || row.status === "ready" || row.status === "submitted";
    const past = i < row.segments.length - 1 || (again && segment.end !== null);
    marks.push(...segmentMarks(f, segment, past, now));
  });
  if (row.status === "waiting" || row.status === "ready") {
    const x = Math.min(Math.max(position(f, now) + 10, f.left + 8), f.width - 10);
    marks.push({ kind: "dot", x, width: 4, paint: "none", past: false });
  } else if (!row.segments.length) {
    const reused = row.status === "reused";
    const at = clipped(f, begin(row, find), begin(row, find), reused ? 14 : 4);
    if (at) marks.push({ kind: reused ? "ghost" : "dot", ...at, paint: reused ? paint(row) : "none", past: false });
  }
  if (row.status === "reused") for (const mark of marks) if (mark.kind === "bar") mark.kind = "ghost";
  return { marks, label: labelAt(f, marks, barLabel(row, now)) };
}

/** A name that fits before the bars; the whole of it is in the tooltip. */
export function shortened(name: string, f: Frame): string {
  const fits = Math.floor((f.left - 2 * MARGIN + 6) / NAME_CHAR);
  return name.length <= fits ? name : `${name.slice(0, Math.max(3, fits - 1))}…`;
}

/** Zoom by `factor` about the time `at`; back to the whole run where nothing would be left out. */
export function zoomed(f: Frame, factor: number, at: number, end: number): Zoom {
  const span = Math.max((f.to - f.from) * factor, 1e-4);
  if (span >= end) return null;
  const from = Math.min(Math.max(0, at - ((at - f.from) / (f.to - f.from)) * span), end - span);
  return { from, to: from + span };
}
