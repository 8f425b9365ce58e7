/** Time to pixels and back: what part of a run is looked at, with or without its idle gaps. Pure: no DOM, no clock. */

import type { Row } from "./model";

/** What part of the run is looked at, in seconds; null fits the whole run. */
export type Zoom = { from: number; to: number } | null;

/** A stretch of time in which nothing ran, drawn as if it had lasted `kept` seconds. */
export interface Cut {
  from: number;
  to: number;
  kept: number;
}

/** Time with its idle gaps made short: monotonic, so that what was first stays first. */
export class Squeeze {
  constructor(readonly cuts: readonly Cut[]) {}

  /** Where on the shorter axis a time is. */
  short(seconds: number): number {
    let gone = 0;
    for (const { from, to, kept } of this.cuts) {
      if (seconds <= from) break;
      if (seconds < to) return from - gone + ((seconds - from) / (to - from)) * kept;
      gone += to - from - kept;
    }
    return seconds - gone;
  }

  /** Undoes `short`. */
  real(short: number): number {
    let gone = 0;
    for (const { from, to, kept } of this.cuts) {
      if (short <= from - gone) break;
      if (short < from - gone + kept) return from + ((short - (from - gone)) / kept) * (to - from);
      gone += to - from - kept;
    }
    return short + gone;
  }
}

export interface Frame {
  width: number;
  left: number; // px where `from` is drawn; names stand before it
  right: number; // px where `to` is drawn; labels may stand after it
  from: number;
  to: number;
  squeeze?: Squeeze | null;
}

/** Whether all is drawn at the same places. */
export function isSameFrame(a: Frame, b: Frame): boolean {
  const sizes = a.width === b.width && a.left === b.left && a.right === b.right;
  return sizes && a.from === b.from && a.to === b.to && (a.squeeze ?? null) === (b.squeeze ?? null);
}

export interface Tick {
  x: number;
  label: string;
}

const KEPT = 0.03; // of the time in which something ran
const LONG = 0.15; // of the same: a shorter gap is no news
const LEAST_GAP = 1; // s: nor is one that nobody waited for

function short(f: Frame, seconds: number): number {
  return f.squeeze ? f.squeeze.short(seconds) : seconds;
}

function real(f: Frame, seconds: number): number {
  return f.squeeze ? f.squeeze.real(seconds) : seconds;
}

/** Seconds of the axis, gaps as short as they are drawn. */
export function spanOf(f: Frame): number {
  return short(f, f.to) - short(f, f.from);
}

export function position(f: Frame, seconds: number): number {
  return f.left + ((short(f, seconds) - short(f, f.from)) / spanOf(f)) * (f.right - f.left);
}

export function timeAt(f: Frame, x: number): number {
  return real(f, short(f, f.from) + ((x - f.left) / (f.right - f.left)) * spanOf(f));
}

/** The gaps worth cutting: nothing was queued or running, and it took long beside all that did. */
export function cuts(rows: Iterable<Pick<Row, "segments"> & { since?: number | null }>, now: number): Cut[] {
  const busy: [number, number][] = [];
  for (const row of rows) {
    row.segments.forEach((segment, i) => {
      const rests = segment.end === null && i === row.segments.length - 1 ? row.since : null;
      busy.push([segment.queued, segment.end ?? rests ?? now]);
    });
  }
  busy.sort((a, b) => a[0] - b[0]);
  const gaps: [number, number][] = [];
  let upTo = 0;
  let worked = 0;
  for (const [from, to] of busy) {
    if (from > upTo) gaps.push([upTo, from]);
    worked += Math.max(0, to - Math.max(from, upTo));
    upTo = Math.max(upTo, to);
  }
  if (now > upTo) gaps.push([upTo, now]);
  if (worked <= 0) return [];
  return gaps
    .filter(([from, to]) => to - from > Math.max(LEAST_GAP, LONG * worked))
    .map(([from, to]) => ({ from, to, kept: KEPT * worked }));
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];

/** A round distance between ticks, at least `least` seconds: decimal below a second, clock-like above. */
export function tickStep(least: number): number {
  if (least > 86400) return 86400 * Math.ceil(least / 86400);
  if (least > 1) return STEPS.find((s) => s >= least) ?? 86400;
  const power = 10 ** Math.floor(Math.log10(least) + 1e-9);
  return Number((([1, 2, 5, 10].find((s) => s * power >= least * (1 - 1e-9)) ?? 10) * power).toPrecision(3));
}

/** "2:05", "1:00:30": a time that no single unit fits. */
function clock(seconds: number): string {
  const whole = Math.round(seconds);
  const [h, m, s] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60), whole % 60];
  const two = (n: number): string => String(n).padStart(2, "0");
  return h ? `${h}:${two(m)}:${two(s)}` : `${m}:${two(s)}`;
}

/** Ticks at round times; the unit stands at the last one, as one unit holds for the whole axis. None within a cut. */
export function ticks(f: Frame): Tick[] {
  const perTick = 74;
  const span = spanOf(f);
  const end = Math.min(real(f, short(f, f.to) + (span * (f.width - f.right - 34)) / (f.right - f.left)), f.to * 1.3);
  const step = tickStep((span * perTick) / (f.right - f.left));
  const asClock = end >= 600 && step < 60 && step >= 1;
  const [unit, seconds] = step < 1 && end < 1.1 ? ["ms", 0.001] : step < 60 && end < 600 ? ["s", 1] : ["min", 60];
  const digits = Math.max(0, -Math.floor(Math.log10(step / seconds) + 1e-9));
  const found: Tick[] = [];
  for (let i = Math.ceil(f.from / step - 1e-9); i * step <= end && found.length < 60; i++) {
    const at = i * step;
    const cut = f.squeeze?.cuts.find(({ from, to }) => at > from && at < to);
    if (cut) {
      i = Math.ceil(cut.to / step - 1e-9) - 1;
      continue;
    }
    const x = position(f, at);
    if (f.squeeze && x - (found.at(-1)?.x ?? Number.NEGATIVE_INFINITY) < perTick * 0.8) continue;
    const value = at / seconds;
    found.push({ x, label: asClock ? clock(at) : value ? value.toFixed(digits) : "0" });
  }
  const last = found.at(-1);
  if (last && !asClock) last.label += ` ${unit}`;
  return found;
}

/** The next round length above `seconds`: the axis of a running run grows in steps, so that bars do not crawl back. */
export function headroom(seconds: number): number {
  const wanted = Math.max(seconds * 1.04, 0.02);
  const power = 10 ** Math.floor(Math.log10(wanted));
  const step = [1, 1.25, 1.6, 2, 2.5, 3.2, 4, 5, 6.3, 8, 10].find((s) => s * power >= wanted) ?? 10;
  return step * power;
}

const LEAST_SPAN = 1e-4; // s

function within(f: Frame, from: number, span: number, end: number): Zoom {
  const limit = short(f, end);
  if (span >= limit * (1 - 1e-9)) return null;
  const first = Math.min(Math.max(0, from), limit - span);
  return { from: real(f, first), to: real(f, first + span) };
}

/** Zoom by `factor` about the time `at`; back to the whole run where nothing would be left out. */
export function zoomed(f: Frame, factor: number, at: number, end: number): Zoom {
  const span = Math.max(spanOf(f) * factor, LEAST_SPAN);
  const [first, fixed] = [short(f, f.from), short(f, at)];
  return within(f, fixed - ((fixed - first) / spanOf(f)) * span, span, end);
}

/** Moved by pixels: positive shows what comes later. The whole run stays the whole run. */
export function panned(f: Frame, pixels: number, end: number): Zoom {
  const span = spanOf(f);
  return within(f, short(f, f.from) + (pixels / (f.right - f.left)) * span, span, end);
}

/** A window that had now in it goes on with it, a fifth at a time: nothing creeps. */
export function followed(zoom: Zoom, before: number, now: number): Zoom {
  if (!zoom || before > zoom.to || now <= zoom.to) return zoom;
  const span = zoom.to - zoom.from;
  const by = Math.max(now - zoom.to, 0) + span / 5;
  return { from: zoom.from + by, to: zoom.to + by };
}

/** The time between two places on the axis. */
export function windowed(f: Frame, a: number, b: number, end: number): Zoom {
  const [from, to] = [Math.min(a, b), Math.max(a, b)].map((x) => short(f, timeAt(f, x)));
  const first = Math.max(0, from ?? 0);
  return within(f, first, Math.max(LEAST_SPAN, (to ?? 0) - first), end);
}
