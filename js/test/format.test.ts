import { expect, test } from "vitest";
import { barLabel, duration, names, split, spoken, times } from "../src/format";
import type { Row } from "../src/model";
import { fixture } from "./fake";

function label(name: string, step: string): string {
  const { rows, header } = fixture(name);
  const row = rows.find((r) => r.step === step) as Row;
  return barLabel(row, header.now).parts.join(" · ");
}

test("a duration is read in two or three figures", () => {
  const read = [0, 0.42, 5, 5.13, 200.1, 999.6, 1240, 12_400, 59_960, 125_000, 3_840_000].map(duration);

  expect(read).toEqual([
    "0 ms",
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

  expect(rows.map((row) => barLabel(row, header.now).parts.join(" · "))).toEqual([
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

test("a row is spoken as step, executor, status, duration", () => {
  const row = fixture("finished").rows[1] as Row;

  expect(spoken(row)).toBe("check_inventory, distributed, succeeded, 200 ms");
});

test("time is told as waiting and running", () => {
  expect(times(fixture("finished").rows[1] as Row, 1)).toBe("queued 5 ms, ran 200 ms");
});

test("shares of the work are told in percent, and not before there was any", () => {
  const { header } = fixture("finished");

  expect([split(header), split({ ...header, local_ms: 0, remote_ms: 0 })]).toEqual(["local 2 %, distributed 98 %", ""]);
});

test("a long list of names is cut", () => {
  expect(names(["a", "b", "c", "d"], 2)).toBe("a, b and 2 more");
});
