// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import { fixture } from "./fake";
import { fresh, one, row, settle, shown } from "./host";

beforeEach(() => fresh());

function touch(node: Element, kind: string, more: object = {}): Event {
  const event = new MouseEvent(kind, { bubbles: true, cancelable: true, clientX: 300, clientY: 40, ...more });
  Object.defineProperties(event, { pointerId: { value: 7 }, pointerType: { value: "touch" } });
  node.dispatchEvent(event);
  return event;
}

function opened(cb: HTMLElement): string | null {
  const panel = one(cb, ".cb-panel");
  return panel.hidden ? null : (panel.dataset.step ?? "");
}

test("a finger that rests on a row opens it, and what follows is no click and no menu of the browser", () => {
  const { cb } = shown(fixture("finished"));
  const node = row(cb, "check_inventory");
  const clicked = vi.fn();
  node.addEventListener("click", clicked);

  touch(node, "pointerdown");
  vi.advanceTimersByTime(400);
  const early = opened(cb);
  vi.advanceTimersByTime(150);
  const menu = touch(node, "contextmenu");
  touch(node, "pointerup");
  touch(node, "click");
  settle();

  expect([early, opened(cb)]).toEqual([null, "check_inventory"]);
  expect([menu.defaultPrevented, clicked.mock.calls.length]).toEqual([true, 0]);
  expect(cb.querySelectorAll(".cb-menu [role=menuitem]").length).toBeGreaterThan(1);
});

test.each([
  ["moves on", (node: Element) => touch(node, "pointermove", { clientY: 60 })],
  ["leaves", (node: Element) => touch(node, "pointerup")],
  ["is joined by another", (node: Element) => touch(node, "pointerdown")],
])("a finger that %s opens nothing", (_, act) => {
  const { cb } = shown(fixture("finished"));
  const node = row(cb, "check_inventory");

  touch(node, "pointerdown");
  vi.advanceTimersByTime(300);
  act(node);
  vi.advanceTimersByTime(600);

  expect(opened(cb)).toBe(null);
});

test("a mouse that rests opens nothing, and keeps the menu of its other button", () => {
  const { cb } = shown(fixture("finished"));
  const node = row(cb, "check_inventory");

  node.dispatchEvent(new MouseEvent("pointerdown", { bubbles: true }));
  vi.advanceTimersByTime(900);
  const menu = new MouseEvent("contextmenu", { bubbles: true, cancelable: true });
  node.dispatchEvent(menu);

  expect([opened(cb), menu.defaultPrevented]).toEqual([null, false]);
});
