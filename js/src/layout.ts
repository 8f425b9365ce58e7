/** Rows, width and zoom in; pixels out. Pure: no DOM, no clock. */

import { barLabel, duration, paint, percentOf, statusName, type Words } from "./format";
import type { Row, Segment } from "./model";
import type { Summary } from "./outline";

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

/**
 * bar: an attempt; track: one that says how far it is, and fill: so far; pause: one that rests, and tail: how long it
 * will; ghost: a reused result; choice: the moment of a decision; span: a nested workflow; lane: the work in it.
 */
export type MarkKind =
  | ("bar" | "track" | "fill" | "pause" | "tail" | "ghost")
  | ("queue" | "cross" | "dot" | "choice" | "span" | "lane");

export interface Mark {
  kind: MarkKind;
  x: number;
  width: number;
  paint: Paint;
  past: boolean; // an earlier attempt: paler
  lane?: readonly [place: number, of: number];
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
  /** Words within the bar: how far it is. */
  inner: { text: string; x: number } | null;
}

const INNER_ROOM = 46; // px of a bar that can hold "100 %"
const TAIL = 26; // px of a pause without an end
const INDENT = 16; // px for each group around a line

/** px before the name of a line: names of one level stand in one column, a group's twisty before it. */
export function indent(depth: number): number {
  return MARGIN + depth * INDENT;
}

export function rowHeight(total: number): number {
  return total <= 12 ? 34 : 26;
}

/** A decision is a moment: its line is slim. */
export function decisionHeight(total: number): number {
  return total <= 12 ? 26 : 22;
}

/** The next round length above `seconds`: the axis of a running run grows in steps, so that bars do not crawl back. */
export function headroom(seconds: number): number {
  const wanted = Math.max(seconds * 1.04, 0.02);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8, 10].find((s) => s * power >= wanted) ?? 10;
  return step * power;
}

/** `longestName` in characters; `wordy`: steps say what they do, which takes more room after the bars. */
export function frame(
  width: number,
  longestName: number,
  zoom: Zoom,
  now: number,
  running: boolean,
  wordy = false,
): Frame {
  const names = Math.min(longestName * NAME_CHAR + 2 * MARGIN, Math.max(96, width * 0.32), 260);
  const left = Math.round(Math.max(names, 72));
  const room = width - left;
  const after = wordy ? Math.min(310, Math.max(86, room * 0.36)) : Math.min(170, Math.max(86, room * 0.22));
  const right = Math.round(width - after);
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

function segmentMarks(f: Frame, row: Row, segment: Segment, past: boolean, now: number): Mark[] {
  const marks: Mark[] = [];
  const begun = segment.start ?? segment.end ?? now;
  const queue = clipped(f, segment.queued, begun, 0);
  if (queue && (queue.width >= 3 || segment.start === null) && begun > segment.queued) {
    marks.push({ kind: "queue", ...queue, width: Math.max(3, queue.width), paint: paint(segment), past });
  }
  if (segment.start === null) return marks;
  const bar = clipped(f, segment.start, segment.end ?? now, 3);
  if (!bar) return marks;
  const look = { paint: paintOf(segment), past };
  const live = segment.end === null && !past;
  if (live && (row.status === "sleeping" || row.status === "approval")) {
    marks.push({ kind: "pause", ...bar, ...look });
    const until = row.until === null ? null : position(f, Math.max(row.until, now));
    const from = bar.x + bar.width;
    // Where it ends beyond the axis, there is no telling how far.
    const to = until !== null && until <= f.right ? until : from + TAIL;
    if (to - from >= 2) marks.push({ kind: "tail", x: from, width: to - from, ...look });
    return marks;
  }
  if (live && row.status === "running" && row.progress !== null) {
    marks.push({ kind: "track", ...bar, ...look });
    const width = bar.width * Math.min(1, Math.max(0, row.progress));
    if (width >= 1) marks.push({ kind: "fill", x: bar.x, width, ...look });
    return marks;
  }
  marks.push({ kind: "bar", ...bar, ...look });
  if (segment.end !== null && !["ok", "running", "cancelled"].includes(segment.outcome)) {
    marks.push({ kind: "cross", x: bar.x + bar.width, width: 0, paint: "bad", past: false });
  }
  return marks;
}

/** A decision took its way when its attempt ended; earlier ones were sent back. */
function choiceMarks(f: Frame, row: Row, now: number): Mark[] {
  const again = row.status === "waiting" || row.status === "ready";
  return row.segments.flatMap((segment, i) => {
    const at = segment.end ?? segment.start ?? now;
    const place = clipped(f, at, at, 0);
    const past = i < row.segments.length - 1 || again;
    const bad = segment.outcome !== "ok" && segment.outcome !== "running";
    return place ? [{ kind: "choice" as const, x: place.x, width: 6, paint: bad ? "bad" : "none", past } as const] : [];
  });
}

/** After the bar if there is room, with fewer words if need be; else before it, else on it. */
function labelAt(f: Frame, marks: readonly Mark[], { parts, told, extra }: Words): Label {
  const first = marks[0];
  const last = marks.find((mark) => mark.kind === "track") ?? marks.at(-1);
  if (!first || !last) return { text: "", x: f.left, anchor: "start", inside: false };
  const after = last.x + last.width + (last.kind === "cross" ? 10 : 7);
  const room = Math.floor((f.width - 4 - after) / LABEL_CHAR);
  const needed = parts.join(" · ");
  for (let kept = extra.length; kept >= 0; kept--) {
    const text = [needed + told, ...extra.slice(0, kept)].filter(Boolean).join(" · ");
    if (text.length <= room) return { text, x: after, anchor: "start", inside: false };
  }
  // A few words of what the step says are better than none.
  if (told && room >= needed.length + 8) {
    const text = `${(needed + told).slice(0, room - 1).trimEnd()}…`;
    return { text, x: after, anchor: "start", inside: false };
  }
  if (needed.length <= room) return { text: needed, x: after, anchor: "start", inside: false };
  const before = first.x - 8;
  if (before - needed.length * LABEL_CHAR >= f.left) return { text: needed, x: before, anchor: "end", inside: false };
  return { text: needed, x: Math.min(last.x + last.width, f.width) - 8, anchor: "end", inside: true };
}

/** One row as drawn. `find` gives the rows it needs: they place a row that never ran. */
export function picture(f: Frame, row: Row, now: number, find: (id: number) => Row | undefined): Picture {
  const marks: Mark[] = [];
  if (row.kind === "decision") marks.push(...choiceMarks(f, row, now));
  else {
    row.segments.forEach((segment, i) => {
      const again = row.status === "waiting" || row.status === "ready" || row.status === "submitted";
      const past = i < row.segments.length - 1 || (again && segment.end !== null);
      marks.push(...segmentMarks(f, row, segment, past, now));
    });
  }
  if (row.status === "waiting" || row.status === "ready") {
    marks.push(waitingDot(f, now));
  } else if (!row.segments.length) {
    const reused = row.status === "reused" && row.kind === "step";
    const at = clipped(f, begin(row, find), begin(row, find), reused ? 14 : 4);
    if (at) marks.push({ kind: reused ? "ghost" : "dot", ...at, paint: reused ? paint(row) : "none", past: false });
  }
  if (row.status === "reused") for (const mark of marks) if (mark.kind === "bar") mark.kind = "ghost";
  const track = marks.find((mark) => mark.kind === "track");
  const roomy = track !== undefined && track.width >= INNER_ROOM && row.progress !== null;
  return {
    marks,
    label: labelAt(f, marks, barLabel(row, now, !roomy)),
    inner: roomy ? { text: percentOf(row.progress ?? 0), x: Math.max(track.x, f.left) + 6 } : null,
  };
}

function waitingDot(f: Frame, now: number): Mark {
  const x = Math.min(Math.max(position(f, now) + 10, f.left + 8), f.width - 10);
  return { kind: "dot", x, width: 4, paint: "none", past: false };
}

/** A nested workflow as one line: from its first start to its last end, and while closed, the work inside. */
export function groupPicture(f: Frame, summary: Summary, open: boolean, now: number, at: number): Picture {
  const { status, from, to, done, total } = summary;
  const marks: Mark[] = [];
  const bad = status === "failed" || status === "cancelled";
  if (from !== null) {
    const span = clipped(f, from, to ?? now, 6);
    if (span) {
      const look: Paint = bad ? "bad" : "none";
      if (!open) {
        summary.lanes.forEach((lane, place) => {
          for (const [begin, end] of lane.spans) {
            const found = clipped(f, begin, end ?? now, 2);
            if (!found) continue;
            marks.push({ kind: "lane", ...found, paint: lane.paint, past: false, lane: [place, summary.lanes.length] });
          }
        });
      }
      const over = open ? {} : { lane: [0, summary.lanes.length] as const };
      marks.push({ kind: "span", ...span, paint: look, past: false, ...over });
    }
  } else if (status === "waiting") marks.push(waitingDot(f, now));
  else {
    const place = clipped(f, at, at, 4);
    if (place) marks.push({ kind: "dot", ...place, paint: "none", past: false });
  }
  const words: string[] = [];
  if (status !== "succeeded" && status !== "waiting") words.push(statusName(status));
  if (status !== "skipped") words.push(`${done} of ${total}`);
  if (from !== null) words.push(duration(((to ?? now) - from) * 1000));
  return { marks, label: labelAt(f, marks, { parts: words, told: "", extra: [] }), inner: null };
}

/** A name that fits before the bars; the whole of it is in the tooltip. */
export function shortened(name: string, f: Frame, before = MARGIN): string {
  const fits = Math.floor((f.left - MARGIN - before + 6) / NAME_CHAR);
  return name.length <= fits ? name : `${name.slice(0, Math.max(3, fits - 1))}…`;
}

/** Zoom by `factor` about the time `at`; back to the whole run where nothing would be left out. */
export function zoomed(f: Frame, factor: number, at: number, end: number): Zoom {
  const span = Math.max((f.to - f.from) * factor, 1e-4);
  if (span >= end) return null;
  const from = Math.min(Math.max(0, at - ((at - f.from) / (f.to - f.from)) * span), end - span);
  return { from, to: from + span };
}
