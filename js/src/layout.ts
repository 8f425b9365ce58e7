/** Rows, width and zoom in; pixels out. Pure: no DOM, no clock. */

import { barLabel, duration, percentOf, statusName, type Words } from "./format";
import type { Row, Segment } from "./model";
import { MARGIN } from "./names";
import type { Summary } from "./outline";
import { type Paint, paint } from "./palette";
import { type Frame, headroom, position, type Squeeze, type Zoom } from "./time";

export const AXIS_HEIGHT = 30;
const LABEL_CHAR = 6.2; // px of an average character at 11px

/**
 * bar: an attempt's code, send and fetch: its way there and back; track: one that says how far it is, and fill: so far; pause: one that rests, and tail: how long it
 * will; ghost: a result of before; strike: through what was undone; slack: how much later it could have ended; critical:
 * it held the run up; choice: the moment of a decision; span: a nested workflow; lane: the work in it; earlier and
 * earlierqueue: how it went in the run that this one is compared with.
 */
export type MarkKind =
  | ("bar" | "track" | "fill" | "pause" | "tail" | "ghost" | "strike" | "slack" | "critical")
  | ("queue" | "send" | "fetch" | "cross" | "dot" | "choice" | "span" | "lane" | "earlier" | "earlierqueue");

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

/** What is known of a row beside its own times. */
export interface Weight {
  critical: boolean;
  slack: number | null; // seconds; null: not known
  leader: boolean; // whether slack is drawn, or only said
  difference?: string; // to another run
}

export const NO_WEIGHT: Weight = { critical: false, slack: null, leader: false };

const LEAST_WAYS = 12; // px of a bar that has its ends drawn
const INNER_ROOM = 46; // px of a bar that can hold "100 %"
const TAIL = 26; // px of a pause without an end
const LEAST_SLACK = 0.01; // of the run: less is no news

export function rowHeight(total: number): number {
  return total <= 12 ? 34 : 26;
}

/** A decision is a moment: its line is slim. */
export function decisionHeight(total: number): number {
  return total <= 12 ? 26 : 22;
}

export interface View {
  zoom: Zoom;
  now: number;
  running: boolean;
  wordy?: boolean; // steps say what they do, which takes more room after the bars
  finish?: number | null; // where it is known to end
  beyond?: number; // where the run ended that it is compared with
  squeeze?: Squeeze | null;
}

/** Where the axis of the whole run ends. */
export function wholeOf({ now, running, finish = null, beyond = 0 }: View): number {
  return running ? headroom(Math.max(now, finish ?? 0, beyond)) : Math.max(now, beyond, 0.001);
}

/** `longest` is the widest name, in px. */
export function frame(width: number, longest: number, view: View): Frame {
  const { zoom, wordy = false, squeeze = null } = view;
  const names = Math.min(longest + 2 * MARGIN, Math.max(96, width * 0.32), 260);
  const left = Math.round(Math.max(names, 72));
  const room = width - left;
  const after = wordy ? Math.min(310, Math.max(86, room * 0.36)) : Math.min(170, Math.max(86, room * 0.22));
  const right = Math.round(width - after);
  const [from, to] = [zoom?.from ?? 0, zoom?.to ?? wholeOf(view)];
  return { width, left, right: Math.max(right, left + 20), from, to, squeeze };
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

function paintOf(row: Row, segment: Segment): Paint {
  if (segment.outcome === "cancelled") return "grey";
  if (segment.outcome !== "ok" && segment.outcome !== "running") return segment.remote ? "badhatch" : "bad";
  return own(row, segment);
}

/** What undoes is no work like other work, wherever it runs. */
function own(row: Row, place: Row | Segment): Paint {
  return row.kind === "undo" ? "undo" : paint(place);
}

export function clipped(f: Frame, from: number, to: number, least: number): { x: number; width: number } | null {
  const a = position(f, from);
  const b = Math.max(position(f, to), a + least);
  const limit = f.width + 4;
  if (b < f.left || a > limit) return null;
  const x = Math.max(a, f.left - (a < f.left ? 1 : 0));
  return { x, width: Math.max(1, Math.min(b, limit) - x) };
}

function segmentMarks(f: Frame, row: Row, segment: Segment, past: boolean, now: number): Mark[] {
  const marks: Mark[] = [];
  const { send = 0, fetch = 0 } = segment;
  const begun = (segment.start ?? segment.end ?? now) - send;
  const queue = clipped(f, segment.queued, begun, 0);
  if (queue && (queue.width >= 3 || segment.start === null) && begun > segment.queued) {
    marks.push({ kind: "queue", ...queue, width: Math.max(3, queue.width), paint: own(row, segment), past });
  }
  if (segment.start === null) return marks;
  const live = segment.end === null && !past;
  const rests = live && pauses(row);
  // A saved picture of an older version does not say since when it rests.
  const end = rests ? Math.max(segment.start, row.since ?? segment.start) : (segment.end ?? now) - fetch;
  const bar = clipped(f, segment.start, end, rests ? 0 : 3);
  const look = { paint: paintOf(row, segment), past };
  marks.push(...wayMarks(f, begun, segment.start, "send", bar, look));
  const fetched = wayMarks(f, end, end + fetch, "fetch", bar, look);
  if (!bar) return [...marks, ...fetched];
  if (rests) {
    if (end > segment.start && bar.width > 1) marks.push({ kind: "bar", ...bar, ...look });
    return marks;
  }
  if (live && row.status === "running" && row.progress !== null) {
    marks.push({ kind: "track", ...bar, ...look });
    const width = bar.width * Math.min(1, Math.max(0, row.progress));
    if (width >= 1) marks.push({ kind: "fill", x: bar.x, width, ...look });
    return marks;
  }
  marks.push({ kind: "bar", ...bar, ...look }, ...fetched);
  if (segment.end !== null && !["ok", "running", "cancelled"].includes(segment.outcome)) {
    const x = bar.x + bar.width + (fetched[0]?.width ?? 0);
    marks.push({ kind: "cross", x, width: 0, paint: "bad", past: false });
  }
  return marks;
}

/** The way to a bar or from it. Beside one that is seen as a bar it is seen too, however quick it was. */
function wayMarks(
  f: Frame,
  from: number,
  to: number,
  kind: "send" | "fetch",
  bar: { x: number; width: number } | null,
  look: Pick<Mark, "paint" | "past">,
): Mark[] {
  const least = bar && bar.width >= LEAST_WAYS ? 3 : 0;
  const place = to > from ? clipped(f, from, to, 0) : null;
  if (!place || (!least && position(f, to) - position(f, from) < 1)) return [];
  const width = Math.max(place.width, least);
  const x = kind === "send" ? place.x + place.width - width : Math.max(place.x, bar ? bar.x + bar.width : 0);
  return [{ kind, x, width, ...look }];
}

function pauses(row: Row): boolean {
  return row.status === "sleeping" || row.status === "approval";
}

/** What rests: from when on, and how long it still will. Also between two attempts. */
function pauseMarks(f: Frame, row: Row, now: number): Mark[] {
  const last = row.segments.at(-1);
  const since = row.since ?? last?.end ?? last?.start ?? null;
  const rest = since === null ? null : clipped(f, since, now, 3);
  if (!rest) return [];
  const look = { paint: own(row, row), past: false };
  const marks: Mark[] = [{ kind: "pause", ...rest, ...look }];
  const until = row.until === null ? null : position(f, Math.max(row.until, now));
  const from = rest.x + rest.width;
  // Where it ends beyond the axis, there is no telling how far.
  const to = until !== null && until <= f.right ? until : from + TAIL;
  if (to - from >= 2) marks.push({ kind: "tail", x: from, width: to - from, ...look });
  return marks;
}

/** Lines under and after the bars: that it held the run up, that it could have ended later, that it was undone. */
function weighted(f: Frame, row: Row, marks: Mark[], weight: Weight, now: number): void {
  const last = row.segments.at(-1);
  const first = row.segments[0];
  if (!first || !last || row.kind === "decision") return;
  const look = { paint: "none", past: false } as const;
  if (row.status === "undone") {
    const done = clipped(f, last.start ?? last.queued, last.end ?? now, 3);
    if (done) marks.push({ kind: "strike", x: done.x - 4, width: done.width + 8, paint: "undo", past: false });
  }
  if (weight.critical) {
    const held = clipped(f, first.queued, last.end ?? now, 3);
    if (held) marks.push({ kind: "critical", ...held, ...look });
  } else if (weight.leader && telling(row, weight, now) && last.end !== null) {
    const free = clipped(f, last.end, last.end + (weight.slack ?? 0), 0);
    if (free && free.width >= 12) marks.push({ kind: "slack", x: free.x + 3, width: free.width - 3, ...look });
  }
}

function telling(row: Row, { slack }: Weight, now: number): boolean {
  return slack !== null && row.kind === "step" && slack >= Math.max(0.001, LEAST_SLACK * now);
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
  const solid = marks.filter(({ kind }) => kind !== "critical" && kind !== "strike" && kind !== "slack");
  const first = solid[0];
  const last = solid.find((mark) => mark.kind === "track") ?? solid.at(-1);
  if (!first || !last) return { text: "", x: f.left, anchor: "start", inside: false };
  const after = last.x + last.width + (last.kind === "cross" ? 10 : 7);
  const room = Math.floor((f.width - 4 - after) / LABEL_CHAR);
  // After the line that says how much later it could have ended, where all words fit there.
  const slack = marks.find(({ kind }) => kind === "slack");
  const all = [parts.join(" · ") + told, ...extra].filter(Boolean).join(" · ");
  const beyond = slack ? slack.x + slack.width + 6 : 0;
  if (slack && beyond + all.length * LABEL_CHAR <= f.width - 4)
    return { text: all, x: beyond, anchor: "start", inside: false };
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
  // Over the bar, and not over the name: what a bar shows less clearly than the rest is left out first.
  const x = Math.min(last.x + last.width, f.width) - 8;
  const shorter = [parts, parts.slice(1), parts.slice(-2, -1)].map((kept) => kept.join(" · "));
  const text = shorter.find((words) => words && x - words.length * LABEL_CHAR >= f.left) ?? parts.at(-1) ?? "";
  return { text, x, anchor: "end", inside: true };
}

/** One row as drawn. `find` gives the rows it needs: they place a row that never ran. */
export function picture(
  f: Frame,
  row: Row,
  now: number,
  find: (id: number) => Row | undefined,
  weight: Weight = NO_WEIGHT,
): Picture {
  const marks: Mark[] = [];
  const again = ["waiting", "ready", "submitted"].includes(row.status);
  if (row.kind === "decision") marks.push(...choiceMarks(f, row, now));
  else {
    row.segments.forEach((segment, i) => {
      const past = i < row.segments.length - 1 || ((again || pauses(row)) && segment.end !== null);
      marks.push(...segmentMarks(f, row, segment, past, now));
    });
  }
  if (pauses(row) && row.kind !== "decision") marks.push(...pauseMarks(f, row, now));
  const before = row.status === "reused" || row.status === "cached";
  if (row.status === "waiting" || row.status === "ready") {
    marks.push(waitingDot(f, now));
  } else if (!row.segments.length) {
    const ghost = before && row.kind === "step";
    const at = clipped(f, begin(row, find), begin(row, find), ghost ? 14 : 4);
    if (at) marks.push({ kind: ghost ? "ghost" : "dot", ...at, paint: ghost ? paint(row) : "none", past: false });
  }
  if (before) for (const mark of marks) if (mark.kind === "bar" && !mark.past) mark.kind = "ghost";
  weighted(f, row, marks, weight, now);
  if (!marks.length && row.segments.length) return { marks, label: elsewhere(f, row, now), inner: null };
  const track = marks.find((mark) => mark.kind === "track");
  const roomy = track !== undefined && track.width >= INNER_ROOM && row.progress !== null;
  const words = barLabel(row, now, !roomy);
  if (weight.difference) words.parts.push(weight.difference);
  if (!weight.critical && telling(row, weight, now)) words.extra.push(`slack ${duration((weight.slack ?? 0) * 1000)}`);
  return {
    marks,
    label: labelAt(f, marks, words),
    inner: roomy ? { text: percentOf(row.progress ?? 0), x: Math.max(track.x, f.left) + 6 } : null,
  };
}

/** Nothing of it lies in the time that is looked at: on which side it does. */
function elsewhere(f: Frame, row: Row, now: number): Label {
  const { parts } = barLabel(row, now);
  const before = (row.segments[0]?.queued ?? 0) < f.from;
  const text = [before ? "‹" : "", parts.join(" · "), before ? "" : "›"].filter(Boolean).join(" ");
  return { text, x: before ? f.left + 6 : f.width - 8, anchor: before ? "start" : "end", inside: false };
}

function waitingDot(f: Frame, now: number): Mark {
  const x = Math.min(Math.max(position(f, now) + 10, f.left + 8), f.width - 10);
  return { kind: "dot", x, width: 4, paint: "none", past: false };
}

/** A nested workflow as one line: from its first start to its last end, and while closed, the work inside. */
export function groupPicture(
  f: Frame,
  summary: Summary,
  open: boolean,
  now: number,
  at: number,
  difference = "",
): Picture {
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
  if (difference) words.push(difference);
  return { marks, label: labelAt(f, marks, { parts: words, told: "", extra: [] }), inner: null };
}
