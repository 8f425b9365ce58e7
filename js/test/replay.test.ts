// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import type { Snapshot } from "../src/model";
import { SILENT } from "../src/widget";
import { fixture } from "./fake";
import { click, fresh, one, press, row, type Shown, settle, shown } from "./host";

beforeEach(() => fresh());

const EVIL = "<img src=x onerror=alert(1)>";

function opened(step: string, snapshot: Snapshot = fixture("failed")): Shown {
  const all = shown(snapshot);
  click(row(all.cb, step));
  press(document.activeElement, "Escape"); // the menu
  return all;
}

function pressed(all: Shown): void {
  const button = one(all.cb, ".cb-replay");
  button.focus();
  click(button);
}

function answer(all: Shown, kind: string, more: object): void {
  const { request, step } = all.model.asked("replay").at(-1) ?? {};
  all.model.say({ kind, request, step, ...more });
  settle();
}

const LINE = { code: `%cerebelum replay 7 ${EVIL}`, text: "Run this line in a cell, and %debug shows where." };

test("a step that failed on a worker offers its replay, all others do not", () => {
  const failed = opened("process_payment");
  const hidden = ["check_inventory", "calculate_tax", "finalize_order"].map(
    (step) => one(opened(step).cb, ".cb-replaying").hidden,
  );
  const base = fixture("failed");
  const local = base.rows.map((r) => ({ ...r, remote: false }));
  const lost = base.rows.map((r) => ({ ...r, segments: r.segments.map((s) => ({ ...s, outcome: "lost" })) }));
  for (const rows of [local, lost])
    hidden.push(one(opened("process_payment", { ...base, rows }).cb, ".cb-replaying").hidden);

  expect(one(failed.cb, ".cb-replaying").hidden).toBe(false);
  expect(one(failed.cb, ".cb-replay").textContent).toBe("Replay here");
  expect(hidden).toEqual([true, true, true, true, true]);
});

test("the line for a cell is shown as text, said, and under the focus, and Escape goes back to the button", () => {
  const all = opened("process_payment");
  pressed(all);
  answer(all, "replay", LINE);
  const box = one(all.cb, ".cb-replaybox");
  const focused = document.activeElement;

  expect(all.model.asked("replay").map((m) => m.step)).toEqual(["process_payment"]);
  expect([box.hidden, box.getAttribute("role"), box.getAttribute("aria-label")]).toEqual([
    false,
    "group",
    "Replay here",
  ]);
  expect(box.querySelector("code")?.textContent).toBe(LINE.code);
  expect(box.querySelector("img")).toBe(null);
  expect(one(all.cb, ".cb-live").textContent).toBe(LINE.text);
  expect(focused?.getAttribute("aria-label")).toBe("Copy this line");
  press(focused, "Escape");
  expect([box.hidden, document.activeElement === one(all.cb, ".cb-replay")]).toEqual([true, true]);
  expect(one(all.cb, ".cb-panel").hidden).toBe(false);
});

test("the line is gone with another step, and Close takes it away", () => {
  const all = opened("process_payment");
  pressed(all);
  answer(all, "replay", LINE);
  click(row(all.cb, "check_inventory"));
  press(document.activeElement, "Escape");
  click(row(all.cb, "process_payment"));
  press(document.activeElement, "Escape");
  const again = one(all.cb, ".cb-replaybox").hidden;
  pressed(all);
  answer(all, "replay", LINE);
  click(one(all.cb, ".cb-replay-shut"));

  expect([again, one(all.cb, ".cb-replaybox").hidden]).toEqual([true, true]);
});

test("why it cannot be replayed is said, and so is a kernel that does not answer", () => {
  const all = opened("process_payment");
  pressed(all);
  answer(all, "ack", { ok: false, text: 'it says effects="once"' });
  const refused = one(all.cb, ".cb-message").textContent;
  pressed(all);
  vi.advanceTimersByTime(5100);

  expect([refused, one(all.cb, ".cb-message").textContent]).toEqual(['it says effects="once"', SILENT]);
  expect(one(all.cb, ".cb-replaybox").hidden).toBe(true);
});

test("a saved page has nothing that could replay", () => {
  const all = opened("process_payment", { ...fixture("failed"), still: true });

  expect(one(all.cb, ".cb-panel-acts").hidden).toBe(true);
});
