import { expect, test } from "vitest";
import looksOf from "../fixtures/looks.json" with { type: "json" };
import { many } from "../fixtures/snapshots.mjs";
import { type Filter, isFiltered, NO_FILTER, toggled, wanted } from "../src/filter";
import type { Group, Row } from "../src/model";
import { Outline } from "../src/outline";
import { paint, paintClass, poolPaint } from "../src/palette";
import { relatives } from "../src/relatives";
import { fixture } from "./fake";

const flat = (): number => 26;

function found(name: string, filter: Partial<Filter>, critical: number[] = []): string[] {
  const match = wanted({ ...NO_FILTER, ...filter }, new Set(critical));
  return fixture(name)
    .rows.filter((row) => !match || match(row))
    .map((row) => row.step);
}

test("without a filter every row is wanted", () => {
  expect([isFiltered(NO_FILTER), wanted(NO_FILTER, new Set())]).toEqual([false, null]);
  expect(isFiltered({ ...NO_FILTER, text: "  " })).toBe(false);
});

test("a name is found by any part of it, in any case", () => {
  expect(found("finished", { text: " ORDER" })).toEqual(["validate_order", "finalize_order"]);
});

test("several of one kind widen the choice, several kinds narrow it", () => {
  const places = new Set(["distributed"]);

  expect(found("rerun", { places, statuses: new Set(["cancelled", "submitted"]) })).toEqual([
    "send_receipt",
    "notify_warehouse",
  ]);
  expect(found("rerun", { statuses: new Set(["waiting"]) })).toEqual(["finalize_order"]);
});

test("a step that left a place is found there too, a decision nowhere", () => {
  expect(found("pools", { places: new Set(["distributed"]) })).toEqual(["score", "publish"]);
  expect(found("paused", { places: new Set(["local"]), text: "?" })).toEqual([]);
});

test("what holds the run up can be shown alone", () => {
  expect(found("finished", { critical: true }, [0, 3])).toEqual(["validate_order", "process_payment"]);
});

test("a press chooses, another takes back", () => {
  const once = toggled(new Set(), "a");

  expect([[...once], [...toggled(once, "a")]]).toEqual([["a"], []]);
});

test("lines that are left out take empty groups along, and open those that nobody closed", () => {
  const { rows, header } = fixture("folded");
  const groups = header.groups as readonly Group[];
  const match = wanted({ ...NO_FILTER, text: "part_1" }, new Set());
  const lines = (folds: [string, boolean][]): number[] =>
    new Outline(rows, groups, new Map(folds), flat, match).lines.map((line) => line.id);

  expect(lines([])).toEqual([-3, 7, 16, 17, 18, 19, 20]);
  expect(lines([["score", false]])).toEqual([-3]);
  expect(new Outline(rows, groups, new Map([["score", false]]), flat, match).found).toBe(6);
});

test("relatives are all before and all after, and not those beside", () => {
  const { rows } = fixture("finished");

  expect([...(relatives(rows, 1) ?? [])].sort()).toEqual([0, 1, 3, 4]);
  expect([...(relatives(rows, 4) ?? [])].sort()).toEqual([0, 1, 2, 3, 4]);
  expect(relatives([rows[0] as Row], 0)).toBe(null);
});

test("relatives of a row among ten thousand are found with one look at each", () => {
  let looks = 0;
  const rows = many(10_000).rows.map((row: Row) => ({
    ...row,
    get needs(): readonly number[] {
      looks += 1;
      return row.needs;
    },
  }));

  const kin = relatives(rows, 5_050);

  expect(kin?.size).toBe(100);
  expect(looks).toBeLessThanOrEqual(2 * rows.length);
});

test("a pool keeps its look, and few pools share one", () => {
  const names = Array.from({ length: 200 }, (_, i) => `pool-${i}`);
  const looks = names.map(poolPaint);

  expect(names.map(poolPaint)).toEqual(looks);
  expect(new Set(looks).size).toBe(20);
  expect(new Set(["gpu-worker-pool", "cpu-eu", "spark"].map(poolPaint)).size).toBe(3);
  expect(poolPaint("gpu-worker-pool")).toBe("pool-1-1"); // saved pictures are compared with new ones
  for (const [name, look] of Object.entries(looksOf)) expect(poolPaint(name)).toBe(look); // tests/notebook/test_palette.py
  expect(paintClass("pool-3-2")).toBe("cb-p-pool cb-pool-3");
  expect([paint({ where: "x", remote: false }), paint({ where: "distributed", remote: true })]).toEqual([
    "local",
    "dist",
  ]);
});
