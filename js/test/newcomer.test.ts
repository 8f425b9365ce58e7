// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import type { Snapshot } from "../src/model";
import { fixture } from "./fake";
import { click, fresh, one, press, row, shown } from "./host";

beforeEach(() => fresh());

function fact(cb: HTMLElement, name: string): string {
  const found = [...cb.querySelectorAll<HTMLElement>(".cb-panel dt")].find((dt) => dt.textContent === name);
  return found?.hidden === false ? (found.nextElementSibling?.textContent ?? "") : "";
}

function opened(cb: HTMLElement, step: string): void {
  click(row(cb, step));
  press(document.activeElement, "Escape"); // the menu
}

test("who has opened no step yet is told that one can, and nobody else", () => {
  const first = shown(fixture("finished"));
  const tip = one(first.cb, ".cb-tip");
  const before = [tip.hidden, tip.textContent];
  opened(first.cb, "check_inventory");
  const after = tip.hidden;
  click(one(first.cb, ".cb-close"));
  const again = shown(fixture("finished"));

  expect(before).toEqual([false, "Click a step to see where its time went, to move it, or to run again from it."]);
  expect([after, tip.hidden, one(again.cb, ".cb-tip").hidden]).toEqual([true, true, true]);
});

test("a saved page promises no more than it can do, an empty one nothing", () => {
  const still = shown({ ...fixture("finished"), still: true });
  const empty = shown({});

  expect(one(still.cb, ".cb-tip").textContent).toBe("Click a step to see where its time went.");
  expect(one(empty.cb, ".cb-tip").hidden).toBe(true);
});

test("a page that forbids memory shows the tip each time", () => {
  const forbid = vi.spyOn(globalThis, "localStorage", "get").mockImplementation(() => {
    throw new DOMException("no", "SecurityError");
  });
  const { cb } = shown(fixture("finished"));
  opened(cb, "check_inventory");
  const { cb: next } = shown(fixture("finished"));
  forbid.mockRestore();

  expect([one(cb, ".cb-tip").hidden, one(next, ".cb-tip").hidden]).toEqual([true, false]);
});

test("the panel says whether a faster step would make a faster run", () => {
  const { cb } = shown(fixture("finished"));
  opened(cb, "check_inventory");
  const held = fact(cb, "Holds up");
  opened(cb, "calculate_tax");

  expect(held).toBe("the run: the faster this step, the sooner the run ends");
  expect(fact(cb, "Holds up")).toBe("nothing: it may take 203 ms longer");
});

test("what takes a part of the run has a key that says what it is, and only that", () => {
  const keys = (snapshot: Snapshot): (string | null)[][] =>
    [...shown(snapshot).cb.querySelectorAll<HTMLElement>(".cb-keys > span.cb-key")].map((key) => [
      key.textContent,
      key.title,
    ]);

  expect(keys(fixture("pools"))).toEqual([
    ["queue", "Waited for a worker"],
    ["send, fetch", "Its values were on the way to the worker, and the result on the way back"],
    ["paused", "Slept, or waited for an answer"],
  ]);
  expect(keys(fixture("finished")).map(([name]) => name)).toEqual(["queue"]);
});
