// @vitest-environment jsdom
import { expect, test } from "vitest";
import { type KeyHost, pressed } from "../src/keys";
import type { Line } from "../src/outline";

// A group with two steps, and a step after it.
const GROUP: Line = { id: -1, depth: 0, parent: 0 };
const INNER: Line = { id: 0, depth: 1, parent: -1 };
const LAST: Line = { id: 2, depth: 0, parent: 0 };
const LINES: readonly Line[] = [GROUP, INNER, { id: 1, depth: 1, parent: -1 }, LAST];

/** What a key does on a line, as the chart is told; and whether the notebook hears of it too. */
function told(line: Line, key: string, more: KeyboardEventInit = {}, host: Partial<KeyHost> = {}): [string[], boolean] {
  const said: string[] = [];
  const tell =
    (what: string) =>
    (...about: unknown[]): void => {
      const [of] = about;
      said.push([what, ...(typeof of === "object" ? about.slice(1) : about)].join(" "));
    };
  const chart: KeyHost = {
    last: LINES.length - 1,
    place: ({ id }) => LINES.findIndex((l) => l.id === id),
    placeOf: (id) => LINES.findIndex((l) => l.id === id),
    go: tell("go"),
    press: tell("press"),
    opened: () => true,
    fold: tell("fold"),
    leave: () => true,
    zoom: tell("zoom"),
    pan: tell("pan"),
    fit: tell("fit"),
    search: tell("search"),
    ...host,
  };
  const ours = pressed(chart, line, new KeyboardEvent("keydown", { key, ...more }));
  return [said, ours];
}

test.each([
  ["ArrowUp", INNER, "go 0"],
  ["ArrowDown", INNER, "go 2"],
  ["ArrowUp", GROUP, "go 0"],
  ["ArrowDown", LAST, "go 3"],
  ["Home", LAST, "go 0"],
  ["End", GROUP, "go 3"],
  ["PageUp", LAST, "go 0"],
  ["PageDown", GROUP, "go 3"],
  ["Enter", INNER, "press"],
  [" ", INNER, "press"],
  ["+", INNER, "zoom 0.625"],
  ["=", INNER, "zoom 0.625"],
  ["-", INNER, "zoom 1.6"],
  ["_", INNER, "zoom 1.6"],
  ["0", INNER, "fit"],
  ["/", INNER, "search"],
])("%s goes where it says, and stays in the chart", (key, line, what) => {
  expect(told(line, key)).toEqual([[what], true]);
});

test("Shift with an arrow goes through time, and with a sign that needs it zooms as well", () => {
  expect(told(INNER, "ArrowLeft", { shiftKey: true })).toEqual([["pan -0.2"], true]);
  expect(told(INNER, "ArrowRight", { shiftKey: true })).toEqual([["pan 0.2"], true]);
  expect(told(INNER, "+", { shiftKey: true })).toEqual([["zoom 0.625"], true]);
  expect(told(INNER, "/", { shiftKey: true })).toEqual([["search"], true]);
});

test("a page is ten lines", () => {
  expect(told(INNER, "PageDown", {}, { last: 30 })[0]).toEqual(["go 11"]);
});

test("right opens a group and then goes in, left closes it, and goes out from within", () => {
  const closed = { opened: () => false };

  expect(told(GROUP, "ArrowRight", {}, closed)).toEqual([["fold true", "go 0"], true]);
  expect(told(GROUP, "ArrowRight")).toEqual([["go 1"], true]);
  expect(told(INNER, "ArrowLeft")).toEqual([["go 0"], true]);
  expect(told(GROUP, "ArrowLeft")).toEqual([["fold false", "go 0"], true]);
});

test("what means nothing here is left to the notebook", () => {
  const nothing: [string[], boolean] = [[], false];

  expect(told(INNER, "ArrowRight")).toEqual(nothing);
  expect(told(LAST, "ArrowLeft")).toEqual(nothing);
  expect(told(GROUP, "ArrowLeft", {}, { opened: () => false })).toEqual(nothing);
  expect(told(INNER, "x")).toEqual(nothing);
  expect(told(INNER, "Enter", { shiftKey: true })).toEqual(nothing); // runs the cell
  expect(told(INNER, "Home", { ctrlKey: true })).toEqual(nothing);
  expect(told(INNER, "+", { metaKey: true })).toEqual(nothing); // the browser's own zoom
  expect(told(INNER, "ArrowDown", { altKey: true })).toEqual(nothing);
});

test("Escape leaves what there is to leave, and is the notebook's where there is nothing", () => {
  expect(told(INNER, "Escape")[1]).toBe(true);
  expect(told(INNER, "Escape", {}, { leave: () => false })[1]).toBe(false);
});
