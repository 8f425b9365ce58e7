import { expect, test } from "vitest";
import { groupPicture } from "../src/layout";
import type { Group, Row } from "../src/model";
import { groupAround, Outline, shortName, summarise } from "../src/outline";
import { position } from "../src/time";
import { fixture } from "./fake";

const HEIGHT = (row: Row | null): number => (row?.kind === "decision" ? 22 : 26);

function outline(name: string, folds: Record<string, boolean> = {}): Outline {
  const { rows, header } = fixture(name);
  return new Outline(rows, header.groups, new Map(Object.entries(folds)), HEIGHT);
}

function drawn(name: string, folds: Record<string, boolean> = {}): string[] {
  const { rows, header } = fixture(name);
  return outline(name, folds).lines.map(({ id, depth }) => {
    const label = id < 0 ? `[${header.groups[-1 - id]?.[0]}]` : (rows[id]?.step ?? "");
    return `${"  ".repeat(depth)}${label}`;
  });
}

function flat(count: number): Row[] {
  const row = fixture("finished").rows[0] as Row;
  return Array.from({ length: count }, (_, id) => ({ ...row, id, step: `s${id}` }));
}

test("a nested workflow is a line with its steps below it", () => {
  expect(drawn("paused").slice(0, 8)).toEqual([
    "load_orders",
    "[prepare]",
    "  prepare/clean",
    "  [prepare/dedupe]",
    "    prepare/dedupe/hash",
    "    prepare/dedupe/merge",
    "  prepare/normalise",
    "validate?",
  ]);
});

test("a group of more than twelve is closed until somebody opens it", () => {
  expect(drawn("folded").slice(9)).toEqual(["[score]", "[report]", "  report/collect", "  report/render"]);
  expect(drawn("folded", { score: true }).length).toBe(13 + 14);
});

test("a closed group hides the groups within it", () => {
  expect(drawn("paused", { prepare: false }).slice(0, 3)).toEqual(["load_orders", "[prepare]", "validate?"]);
});

test("what is hidden is shown by the nearest closed group", () => {
  const closed = outline("paused", { prepare: false });
  const inner = outline("paused", { "prepare/dedupe": false });

  expect([closed.shown(3), closed.shown(0), inner.shown(3), inner.place(3)]).toEqual([1, 0, 3, undefined]);
  expect([inner.around(3), inner.around(-2), inner.around(0)]).toEqual([[1, 0], [0], []]);
});

test("a group at the edge of what is known, an empty one and one of all do no harm", () => {
  const groups: Group[] = [
    ["all", 0, 9],
    ["none", 2, 2],
    ["end", 2, 9],
  ];
  const made = new Outline(flat(4), groups, new Map(), HEIGHT);

  expect(made.lines.map((line) => line.id)).toEqual([-1, 0, 1, -3, 2, 3]);
});

test("decisions are slim, and lines know where they stand", () => {
  const made = outline("paused", { prepare: false });

  expect([made.top(2), made.heightOf(2), made.height]).toEqual([52, 22, 52 + 22 + 7 * 26]);
});

test("only lines in sight, and a few more, are drawn", () => {
  const made = new Outline(flat(10_000), [], new Map(), HEIGHT);
  const none = new Outline([], [], new Map(), HEIGHT);

  expect([
    made.visible(0, 420, 8),
    made.visible(130_000, 420, 8),
    made.visible(259_900, 420, 8),
    none.visible(0, 420, 8),
  ]).toEqual([
    { first: 0, end: 25 },
    { first: 4992, end: 5025 },
    { first: 9988, end: 10_000 },
    { first: 0, end: 0 },
  ]);
});

test("a name loses the group that it stands in, and no more", () => {
  const groups: Group[] = [
    ["a", 0, 9],
    ["a/b", 1, 3],
  ];

  expect([
    shortName("a/b/c", "a/b"),
    shortName("x/y", ""),
    groupAround("a/b", groups),
    groupAround("a", groups),
  ]).toEqual(["c", "x/y", "a", ""]);
});

test("a group is summed up: state, time, and how much is done", () => {
  const { rows } = fixture("folded");
  const sum = (from: number, to: number): unknown => ({ ...summarise(rows.slice(from, to)), lanes: 0 });

  expect(sum(1, 5)).toEqual({ status: "succeeded", from: 2.2, to: 11.4, done: 4, total: 4, lanes: 0 });
  expect(sum(21, 23)).toEqual({ status: "failed", from: 40.2, to: 43.9, done: 0, total: 2, lanes: 0 });
});

test("what a route passed by does not count, nor does the decision", () => {
  expect(summarise(fixture("paused").rows.slice(4, 7))).toEqual({
    status: "succeeded",
    from: 10.21,
    to: 11.42,
    done: 1,
    total: 1,
    lanes: [{ paint: "local", spans: [[10.21, 11.4]] }],
  });
});

test("a group stands as its most urgent step does", () => {
  const row = fixture("paused").rows[7] as Row;
  const of = (...all: string[]): string => summarise(all.map((status) => ({ ...row, status }))).status;

  expect([
    of("running", "approval", "failed"),
    of("sleeping", "running"),
    of("sleeping", "waiting"),
    of("failed", "skipped"),
    of("succeeded", "waiting"),
    of("reused", "reused"),
    of("skipped", "skipped"),
  ]).toEqual(["approval", "running", "sleeping", "failed", "running", "reused", "skipped"]);
  expect(summarise(fixture("paused").rows.slice(10)).status).toBe("waiting");
});

test("a closed group shows where work was going on, an open one leaves that to its rows", () => {
  const f = { width: 1000, left: 100, right: 900, from: 0, to: 40 };
  const summary = summarise(fixture("paused").rows.slice(1, 5));
  const kinds = (open: boolean): string[] =>
    groupPicture(f, summary, open, 31, 0).marks.map((m) => `${m.kind} ${m.paint} ${m.lane ?? ""}`.trim());

  expect(kinds(true)).toEqual(["span none"]);
  expect(kinds(false)).toEqual(["lane local 0,2", "lane local 0,2", "lane dist 1,2", "lane dist 1,2", "span none 0,2"]);
  const { label, marks } = groupPicture(f, summary, true, 31, 0);
  expect([label.text, marks[0]?.x]).toEqual(["4 of 4 · 9.20 s", position(f, 2.2)]);
});
