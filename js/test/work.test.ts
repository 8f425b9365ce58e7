// @vitest-environment jsdom
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { many } from "../fixtures/snapshots.mjs";
import type { Row, Snapshot } from "../src/model";
import { fixture, patch } from "./fake";
import { fresh, one, row, shown } from "./host";

let clock = 0;

beforeEach(() => {
  vi.spyOn(performance, "now").mockImplementation(() => clock);
  return fresh();
});

afterEach(() => vi.restoreAllMocks());

/** Which rows are touched by what is done, by their numbers. */
function touched(cb: HTMLElement, act: () => void): string[] {
  const seen = new Set<string>();
  const watch = new MutationObserver(() => {});
  watch.observe(one(cb, ".cb-sheet"), { attributes: true, childList: true, characterData: true, subtree: true });
  act();
  for (let i = 0; i < 8; i++) {
    clock += 50;
    vi.advanceTimersByTime(50);
  }
  for (const { target, addedNodes } of watch.takeRecords()) {
    for (const node of [target, ...addedNodes]) {
      const line = node instanceof Element ? node.closest(".cb-row") : node.parentElement?.closest(".cb-row");
      if (line) seen.add(line.getAttribute("data-id") ?? "");
    }
  }
  watch.disconnect();
  return [...seen].sort((a, b) => Number(a) - Number(b));
}

test("while time goes by, what is over is not drawn again", () => {
  const made = fixture("running");
  const snapshot = { ...made, header: { ...made.header, finish: 4 } }; // with room on the axis
  const { model, cb } = shown(snapshot);
  model.say({ kind: "snapshot", snapshot });
  vi.advanceTimersByTime(400);

  const moved = touched(cb, () => {});
  const ended = touched(cb, () => model.say(patch(snapshot, 13, [{ ...(snapshot.rows[1] as Row), prints: 4 }])));

  expect(moved).toEqual(["3", "4"]);
  expect(ended).toEqual(["3", "4"]); // what its row shows has not changed
  expect(row(cb, "check_inventory").dataset.status).toBe("succeeded");
});

test("what scrolls out and comes in is drawn, and nothing that stays", () => {
  const snapshot = { ...(many(10_000) as Snapshot), still: true };
  const { cb } = shown(snapshot);
  const box = one(cb, ".cb-scroll");
  vi.advanceTimersByTime(400);

  const lines = touched(cb, () => {
    box.scrollTop = 5 * 26;
    box.dispatchEvent(new Event("scroll"));
  });

  expect(lines).toEqual(["25", "26", "27", "28", "29"]);
});

test("between two pictures of time, a scroll draws no row that stays", () => {
  const snapshot = many(10_000) as Snapshot;
  const { model, cb } = shown(snapshot);
  model.say({ kind: "snapshot", snapshot });
  const box = one(cb, ".cb-scroll");
  box.scrollTop = 3333 * 26; // among those that run
  box.dispatchEvent(new Event("scroll"));
  vi.advanceTimersByTime(400);
  const words = (): string[] => [...cb.querySelectorAll(".cb-label")].map((node) => node.textContent ?? "");
  const before = words().filter((word) => word.startsWith("running"));

  clock += 20;
  box.scrollTop += 10;
  box.dispatchEvent(new Event("scroll"));
  vi.advanceTimersByTime(20);
  const held = words();
  clock += 30;
  vi.advanceTimersByTime(60);

  expect([before.length > 5, held.filter((word) => word.startsWith("running"))]).toEqual([true, before]);
  expect(words()).not.toEqual(held);
});
