import { expect, test } from "vitest";
import { barLabel, duration, left, names, type Seen, split, spoken, times, type Words } from "../src/format";
import type { Row } from "../src/model";
import { fixture } from "./fake";

function label(name: string, step: string): string {
  const { rows, header } = fixture(name);
  const row = rows.find((r) => r.step === step) as Row;
  return said(barLabel(row, header.now));
}

function said({ parts, told, extra }: Words): string {
  return [parts.join(" · ") + told, ...extra].filter(Boolean).join(" · ");
}

test("a duration is read in two or three figures", () => {
  const read = [0, 0.01, 0.42, 5, 5.13, 200.1, 999.6, 1240, 12_400, 59_960, 125_000, 3_840_000].map(duration);

  expect(read).toEqual([
    "0 ms",
    "<0.1 ms",
    "0.4 ms",
    "5 ms",
    "5.1 ms",
    "200 ms",
    "1.00 s",
    "1.24 s",
    "12.4 s",
    "1 min 0 s",
    "2 min 5 s",
    "1 h 4 min",
  ]);
});

test("every bar says in words what its colour says", () => {
  const { rows, header } = fixture("rerun");

  expect(rows.map((row) => said(barLabel(row, header.now)))).toEqual([
    "reused",
    "reused · 200 ms",
    "2 ms",
    "attempt 2 · 300 ms · worker 2",
    "running · 370 ms · gpu-worker-pool · worker 1",
    "queued · 25 ms",
    "cancelled · 136 ms",
    "",
  ]);
});

test("a failure and what it skipped are named", () => {
  expect([label("failed", "process_payment"), label("failed", "finalize_order")]).toEqual([
    "failed · 74 ms",
    "skipped",
  ]);
});

test("a row is spoken as it is seen, then with what only colour tells", () => {
  const row = fixture("finished").rows[1] as Row;

  expect(spoken(row, [row.step, "200 ms · worker 2", ""])).toBe(
    "check_inventory, 200 ms, worker 2, distributed, succeeded",
  );
  expect(spoken(row, ["check…tory", "200 ms ›", ""])).toBe(
    "check…tory, 200 ms, check_inventory, distributed, succeeded",
  );
});

test("what pauses says what for and how long, what runs how far it is", () => {
  const words = ["ship", "carrier_opens", "charge_card", "validate?", "refund"].map((step) => label("paused", step));

  expect(words).toEqual([
    "42 % · 19.2 s · parcel 21 of 50 · worker 2",
    "sleeps 3 s more",
    "waits for approval: charge 1,240 EUR to the card of order 77 · 5 min left",
    "took 'ship'",
    "skipped",
  ]);
});

test("a pause whose time has come says so, and one without an end counts nothing", () => {
  const row = fixture("paused").rows[8] as Row;
  const at = (until: number | null, status: string): string => said(barLabel({ ...row, until, status }, 31));

  expect([at(31, "sleeping"), at(null, "sleeping"), at(null, "approval"), at(30, "approval")]).toEqual([
    "wakes up",
    "sleeps",
    "waits for approval",
    "waits for approval · time is up",
  ]);
});

test("time left is told in whole seconds, minutes, hours", () => {
  expect([0.1, 1, 11.2, 59.5, 61, 125, 3600].map(left)).toEqual([
    "1 s",
    "1 s",
    "12 s",
    "1 min",
    "1 min 1 s",
    "2 min 5 s",
    "1 h 0 min",
  ]);
});

test("a decision, a question and progress are spoken", () => {
  const { rows } = fixture("paused");

  const seen = (row: Row): Seen => {
    const { parts, told } = barLabel(row, 31);
    return [row.step, parts.join(" · ") + told, ""];
  };
  expect([5, 7, 9].map((id) => spoken(rows[id] as Row, seen(rows[id] as Row)))).toEqual([
    "validate?, took 'ship', decision",
    "ship, 42 %, 19.2 s, parcel 21 of 50, distributed, running",
    "charge_card, waits for approval: charge 1,240 EUR to the card of order 77, local",
  ]);
});

test("time is told as waiting and running", () => {
  const told = (name: string, id: number): string => times(fixture(name).rows[id] as Row, 0.43);

  expect(told("finished", 1)).toBe("queue 3.8, send 1.2, run 199.6, fetch 0.4 ms");
  expect(told("finished", 0)).toBe("run 5 ms");
  expect(told("running", 3)).toBe("queue 3, run 214 ms");
  expect(told("pools", 4)).toBe("queue 1.48 s, send 900 ms, run 4.50 s, fetch 1.60 s");
});

test("shares of the work are told in percent, and not before there was any", () => {
  const { header } = fixture("finished");

  expect([split(header), split({ ...header, local_ms: 0, remote_ms: 0 })]).toEqual(["local 2 %, distributed 98 %", ""]);
});

test("what a run cost is told in two figures, or to the cent, and not where nothing has a price", () => {
  const { header } = fixture("finished");
  const told = (cost: number): string => split({ ...header, cost }).replace("local 2 %, distributed 98 %", "");

  expect([0, 0.00004, 0.000123, 0.0123, 0.5, 0.996, 12.3].map(told)).toEqual(
    ["", "<0.0001", "0.00012", "0.012", "0.5", "1.00", "12.30"].map((text) => (text ? `, cost ${text}` : "")),
  );
});

test("a long list of names is cut", () => {
  expect(names(["a", "b", "c", "d"], 2)).toBe("a, b and 2 more");
});
