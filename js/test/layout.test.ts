import { expect, test } from "vitest";
import { frame, picture } from "../src/layout";
import type { Row } from "../src/model";
import { nameWidth, shortened } from "../src/names";
import { headroom, position, tickStep, ticks, timeAt, zoomed } from "../src/time";
import { fixture } from "./fake";

const WIDE = { width: 1000, left: 100, right: 900, from: 0, to: 0.8 };

function marks(name: string, step: string): string[] {
  const { rows, header } = fixture(name);
  const find = (id: number): Row | undefined => rows.find((r) => r.id === id);
  const row = rows.find((r) => r.step === step) as Row;
  return picture(WIDE, row, header.now, find).marks.map(
    (m) => `${m.kind} ${m.paint} ${Math.round(m.x)}+${Math.round(m.width)}${m.past ? " past" : ""}`,
  );
}

test("a finished step is one bar, its queue before it, and thin ends for its ways there and back", () => {
  expect(marks("finished", "check_inventory")).toEqual([
    "queue dist 107+4",
    "send dist 109+3",
    "bar dist 112+200",
    "fetch dist 312+3",
  ]);
});

test("ways are as long as they took where that can be seen, and left out beside a bar that is hardly one", () => {
  const row = fixture("pools").rows[4] as Row;
  const at = (to: number): string[] =>
    picture({ ...WIDE, to }, row, 20, () => undefined).marks.map(
      (m) => `${m.kind} ${Math.round(m.x)}+${Math.round(m.width)}`,
    );

  expect(at(16)).toEqual(["queue 256+74", "send 330+45", "bar 375+225", "fetch 600+80"]);
  expect(at(4000)).toEqual(["bar 101+3"]);
});

test("ways that lie outside the time that is looked at are not drawn", () => {
  const row = fixture("pools").rows[4] as Row;
  const at = (from: number, to: number): string[] =>
    picture({ ...WIDE, from, to }, row, 20, () => undefined).marks.map((m) => m.kind);

  expect([at(6, 9), at(0, 5), at(10.5, 20)]).toEqual([["bar"], ["queue", "send", "bar"], ["fetch"]]);
});

test("words over a bar leave the name alone: what the bar shows itself goes first", () => {
  const { rows, header } = fixture("rerun");
  const row = { ...(rows.find((r) => r.step === "process_payment") as Row), status: "running", ms: 300 };
  const label = (room: number) =>
    picture({ ...WIDE, width: 100 + room, right: 60 + room, to: 0.5 }, row, header.now, () => undefined).label;
  const wide = label(600);
  const narrow = label(130);

  expect(wide.text).toBe("attempt 2 · running · 300 ms");
  expect([narrow.text, narrow.inside]).toEqual(["running", true]);
  expect(narrow.x - narrow.text.length * 6.2).toBeGreaterThanOrEqual(100);
});

test("a running bar ends now", () => {
  expect(marks("running", "process_payment")).toEqual(["queue dist 313+3", "bar dist 316+214"]);
});

test("an earlier attempt stands at its own time, paler, with a cross", () => {
  expect(marks("rerun", "process_payment")).toEqual([
    "queue dist 105+4 past",
    "bar badhatch 109+71 past",
    "cross bad 180+0",
    "queue dist 200+4",
    "bar dist 204+300",
  ]);
});

test("a waiting step is a small circle after now", () => {
  expect(marks("running", "finalize_order")).toEqual(["dot none 540+4"]);
});

test("a skipped step stands where what it needs ended", () => {
  expect(marks("failed", "finalize_order")).toEqual(["dot none 390+4"]);
});

test("a reused step, a queued one and a cancelled one look different", () => {
  expect([
    marks("rerun", "validate_order"),
    marks("rerun", "send_receipt"),
    marks("rerun", "notify_warehouse"),
  ]).toEqual([["ghost local 100+14"], ["queue dist 505+25"], ["queue dist 110+4", "bar grey 114+136"]]);
});

test("a decision is a diamond at the moment of the choice, paler where it was sent back", () => {
  const at = { ...WIDE, to: 40 };
  const found = (name: string, id: number): string[] => {
    const { rows, header } = fixture(name);
    const made = picture(at, rows[id] as Row, header.now, (need) => rows[need]);
    return made.marks.map((m) => `${m.kind} ${m.paint} ${Math.round(m.x)}${m.past ? " past" : ""}`);
  };

  expect([found("paused", 5), found("folded", 5), found("paused", 6)]).toEqual([
    ["choice none 328"],
    ["choice none 328 past", "choice none 408"],
    ["dot none 328"],
  ]);
});

test("what pauses rests in outline, with a tail as long as it will", () => {
  const { rows, header } = fixture("paused");
  const marksOf = (id: number): string[] =>
    picture({ ...WIDE, to: 40 }, rows[id] as Row, header.now, () => undefined).marks.map(
      (m) => `${m.kind} ${Math.round(m.x)}+${Math.round(m.width)}`,
    );

  expect([marksOf(8), marksOf(9)]).toEqual([
    ["bar 329+39", "pause 368+352", "tail 720+48"],
    ["bar 329+13", "pause 342+378", "tail 720+26"],
  ]);
});

test("how far a step is fills its bar, and is said in it where there is room", () => {
  const { rows, header } = fixture("paused");
  const made = (width: number): unknown[] => {
    const f = { ...WIDE, right: width, width: 1000, to: 40 };
    const { marks: all, inner, label } = picture(f, rows[7] as Row, header.now, () => undefined);
    return [
      all.filter((m) => m.kind !== "queue").map((m) => `${m.kind} ${Math.round(m.width)}`),
      inner?.text,
      label.text,
    ];
  };

  expect(made(900)).toEqual([["track 384", "fill 161"], "42 %", "19.2 s · parcel 21 of 50 · worker 2"]);
  expect(made(160)).toEqual([["track 29", "fill 12"], undefined, "42 % · 19.2 s · parcel 21 of 50 · worker 2"]);
});

test("what a step says is cut before it is left out", () => {
  const { rows, header } = fixture("paused");
  const said = (width: number): string =>
    picture({ ...WIDE, to: 40, width }, rows[9] as Row, header.now, () => undefined).label.text;

  expect([said(1240), said(1120), said(870)]).toEqual([
    "waits for approval: charge 1,240 EUR to the card of order 77 · 5 min left",
    "waits for approval: charge 1,240 EUR to the card of order…",
    "waits for approval",
  ]);
});

test("a label with no room after its bar loses words before it moves", () => {
  const row = fixture("finished").rows[3] as Row;
  const at = (width: number): string => {
    const { label } = picture({ ...WIDE, width }, row, 0.52, () => undefined);
    return `${label.anchor} ${label.text}`;
  };

  expect([at(1000), at(700), at(640)]).toEqual(["start 300 ms · worker 2", "start 300 ms", "end 300 ms"]);
});

test("the axis of a running run grows in steps, that of an ended one ends with it", () => {
  const running = frame(1000, 75, { zoom: null, now: 0.43, running: true });
  const ended = frame(1000, 75, { zoom: null, now: 0.521, running: false });

  expect([running.to, headroom(0.44), ended.to]).toEqual([0.5, 0.5, 0.521]);
});

test("names take no more than a third of a narrow chart", () => {
  const f = frame(500, 600, { zoom: null, now: 1, running: false });

  expect(f.left).toBe(160);
  expect(shortened("a_very_long_name_of_a_step", f)).toBe("a_very_long…a_step");
});

test("a name is cut between what people see as characters, and wide ones count as such", () => {
  const f = { ...WIDE, left: 96 };

  expect(shortened("👩‍🔬👩‍🔬👩‍🔬👩‍🔬👩‍🔬👩‍🔬", f)).toBe("👩‍🔬👩‍🔬…👩‍🔬");
  expect(shortened("データを読み込む", f)).toBe("データ…込む");
  expect([nameWidth("ab"), nameWidth("読"), nameWidth("e\u0301")]).toEqual([15, 13, 7.5]);
});

test("position and time undo each other", () => {
  expect(timeAt(WIDE, position(WIDE, 0.3))).toBeCloseTo(0.3);
});

test("ticks stand at round times, with the unit at the last", () => {
  const labels = (to: number): string[] => ticks({ ...WIDE, width: 960, to }).map((t) => t.label);

  expect(labels(0.5)).toEqual(["0", "50", "100", "150", "200", "250", "300", "350", "400", "450", "500 ms"]);
  expect(labels(1.5)).toEqual(["0", "0.2", "0.4", "0.6", "0.8", "1.0", "1.2", "1.4 s"]);
  expect(labels(40)).toEqual(["0", "5", "10", "15", "20", "25", "30", "35", "40 s"]);
  expect(labels(2400)).toEqual(["0", "5", "10", "15", "20", "25", "30", "35", "40 min"]);
});

test("a tick step is round at every scale", () => {
  expect([0.00003, 0.07, 0.2, 0.9, 3, 40, 100, 4000, 100_000].map(tickStep)).toEqual([
    0.00005, 0.1, 0.2, 1, 5, 60, 120, 7200, 172_800,
  ]);
});

test("zoom keeps the time under the pointer, and ends with the whole run", () => {
  const closer = zoomed(WIDE, 0.5, 0.4, 0.8);

  expect(closer).toEqual({ from: 0.2, to: 0.6000000000000001 });
  expect(zoomed(WIDE, 2, 0.4, 0.8)).toBe(null);
});
