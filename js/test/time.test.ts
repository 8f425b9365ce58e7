import { expect, test } from "vitest";
import { many } from "../fixtures/snapshots.mjs";
import { frame } from "../src/layout";
import type { Row, Segment } from "../src/model";
import { cuts, type Frame, followed, panned, position, Squeeze, ticks, timeAt, windowed, zoomed } from "../src/time";
import { fixture } from "./fake";

const GAPS = new Squeeze([
  { from: 10, to: 110, kept: 2 },
  { from: 120, to: 1120, kept: 2 },
]);
const CUT: Frame = { width: 1000, left: 100, right: 900, from: 0, to: 1130, squeeze: GAPS };
const PLAIN: Frame = { width: 1000, left: 100, right: 900, from: 0, to: 0.8 };

function overnight(): { rows: readonly Row[]; now: number } {
  const { rows, header } = fixture("overnight");
  return { rows, now: header.now };
}

test("time without its gaps keeps its order, and finds its way back", () => {
  const times = [0, 5, 10, 60, 110, 115, 120, 620, 1120, 1130];

  expect(times.map((t) => GAPS.short(t))).toEqual([0, 5, 10, 11, 12, 17, 22, 23, 24, 34]);
  expect(times.map((t) => GAPS.real(GAPS.short(t)))).toEqual(times);
});

test("position and time undo each other across cuts", () => {
  for (const t of [0, 7, 50, 115, 700, 1125]) expect(timeAt(CUT, position(CUT, t))).toBeCloseTo(t);
  expect(position(CUT, 1130)).toBe(900);
});

test("a night in which nothing ran is a gap, a breath between steps is none", () => {
  const { rows, now } = overnight();

  expect(cuts(rows, now).map((c) => [Math.round(c.from), Math.round(c.to), c.kept > 2 && c.kept < 3])).toEqual([
    [41, 43205, true],
  ]);
  expect(cuts(fixture("finished").rows, 0.521)).toEqual([]);
  expect(cuts([], 10)).toEqual([]);
});

test("what only waits for a person leaves a gap up to now", () => {
  const row = { ...(fixture("paused").rows[9] as Row), needs: [] };
  const found = cuts([row], 3600);

  expect(found.map((c) => [Math.round(c.from), c.to])).toEqual([
    [0, 11.43],
    [12, 3600],
  ]);
});

test("ticks stand outside of cuts, as times of a clock where minutes are too coarse", () => {
  const { rows, now } = overnight();
  const f = frame(1000, 100, { zoom: null, now, running: false, squeeze: new Squeeze(cuts(rows, now)) });
  const found = ticks(f);

  expect(found.map((t) => t.label).slice(0, 6)).toEqual(["0:00", "0:15", "0:30", "12:00:15", "12:00:30", "12:00:45"]);
  const places = found.map((t) => t.x);
  expect(places).toEqual([...places].sort((a, b) => a - b));
});

test("zoom, pan and window keep within the run", () => {
  const half = { ...PLAIN, from: 0.2, to: 0.6 };

  expect(panned(half, 200, 0.8)).toEqual({ from: expect.closeTo(0.3), to: expect.closeTo(0.7) });
  expect(panned(half, 9000, 0.8)).toEqual({ from: expect.closeTo(0.4), to: expect.closeTo(0.8) });
  expect(panned(half, -9000, 0.8)).toEqual({ from: 0, to: expect.closeTo(0.4) });
  expect(panned(PLAIN, 100, 0.8)).toBe(null);
  expect(windowed(PLAIN, 700, 300, 0.8)).toEqual({ from: expect.closeTo(0.2), to: expect.closeTo(0.6) });
  expect(windowed(PLAIN, 50, 2000, 0.8)).toBe(null);
});

test("zoom within cuts is measured as it is drawn", () => {
  const closer = zoomed(CUT, 0.5, 115, 1130);

  expect(closer?.from).toBeCloseTo(8.5);
  expect(closer?.to).toBeCloseTo(1121.5); // 17 s of what is drawn
  expect(zoomed({ ...CUT, ...closer }, 4, 115, 1130)).toBe(null);
});

test("there is a limit to how close one can look", () => {
  let f = PLAIN;
  for (let i = 0; i < 60; i++) f = { ...f, ...zoomed(f, 0.5, 0.4, 0.8) };

  expect(f.to - f.from).toBeCloseTo(1e-4, 6);
  expect(ticks(f).length).toBeGreaterThan(2);
});

test("the axis has room for the end that is known", () => {
  const at = (finish: number | null): number => frame(1000, 100, { zoom: null, now: 4, running: true, finish }).to;

  expect([at(null), at(9)]).toEqual([5, 10]);
});

test("a gap among ten thousand rows is found, in whatever order they come", () => {
  const done = many(10_000).rows.filter((row) => row.status === "succeeded");
  const [tried] = (done[0] as Row).segments;
  const late = { segments: [{ ...(tried as Segment), queued: 100, start: 100, end: 101 }] };
  const last = Math.max(...done.map((row) => row.segments[0]?.end ?? 0));

  const found = cuts([...done, late], 101);

  expect(found.map(({ from, to }) => [from, to])).toEqual([[last, 100]]);
  expect(cuts([late, ...done.reverse()], 101)).toEqual(found);
});

test("a window that had now in it follows it, another one stays", () => {
  expect(followed({ from: 2, to: 4 }, 3.9, 4.1)).toEqual({ from: expect.closeTo(2.5), to: expect.closeTo(4.5) });
  expect(followed({ from: 2, to: 4 }, 3.8, 3.9)).toEqual({ from: 2, to: 4 });
  expect(followed({ from: 2, to: 4 }, 9, 9.1)).toEqual({ from: 2, to: 4 });
  expect(followed(null, 1, 2)).toBe(null);
});
