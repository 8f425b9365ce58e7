// @vitest-environment jsdom
import { beforeEach, expect, test } from "vitest";
import { fixture } from "./fake";
import { answer, asked, click, fresh, one, row, settle, shown } from "./host";

beforeEach(() => fresh());

function clickWith(node: Element, init: MouseEventInit): void {
  node.dispatchEvent(new MouseEvent("click", { bubbles: true, ...init }));
  settle();
}

test("several rows are picked with Ctrl, Shift and the arrows, and moved as one", () => {
  const all = shown(fixture("finished"));
  clickWith(row(all.cb, "check_inventory"), { ctrlKey: true });
  clickWith(row(all.cb, "process_payment"), { shiftKey: true });
  const title = one(all.cb, ".cb-panel b").textContent;
  const said = one(all.cb, ".cb-live").textContent;
  click(one(all.cb, '.cb-move[data-executor="local"]'));

  expect([title, said, one(all.cb, ".cb-menu").hidden]).toEqual(["3 steps", "3 steps selected", true]);
  expect(asked(all, "preview")).toMatchObject({
    steps: ["check_inventory", "calculate_tax", "process_payment"],
    executor: "local",
  });
  answer(all, "preview", { runs: ["a"], reuses: [], lost: "", code: "x", ok: true, text: "", executor: "local" });
  click(one(all.cb, ".cb-apply"));
  expect(asked(all, "apply")).toMatchObject({ steps: ["check_inventory", "calculate_tax", "process_payment"] });
});

test("Shift with an arrow grows and shrinks what is picked; a plain click ends it", () => {
  const all = shown(fixture("finished"));
  const shift = (key: string): void => {
    document.activeElement?.dispatchEvent(new KeyboardEvent("keydown", { key, shiftKey: true, bubbles: true }));
    settle();
  };
  row(all.cb, "validate_order").focus();
  shift("ArrowDown");
  shift("ArrowDown");
  const three = one(all.cb, ".cb-panel b").textContent;
  shift("ArrowUp");
  const two = one(all.cb, ".cb-panel b").textContent;
  clickWith(row(all.cb, "calculate_tax"), { ctrlKey: true });
  clickWith(row(all.cb, "calculate_tax"), { ctrlKey: true });
  const same = one(all.cb, ".cb-panel b").textContent;
  click(row(all.cb, "finalize_order"));

  expect([three, two, same, one(all.cb, ".cb-panel b").textContent]).toEqual([
    "3 steps",
    "2 steps",
    "2 steps",
    "finalize_order",
  ]);
});

test("a bar is carried to another executor; sideways only where the picture does not move", () => {
  const all = shown(fixture("finished"));
  const bar = one(all.cb, '.cb-row[data-step="check_inventory"] .cb-mark');
  const point = (node: Element, type: string, x: number, y: number): void => {
    const event = new MouseEvent(type, { bubbles: true, clientX: x, clientY: y, button: 0 });
    node.dispatchEvent(Object.assign(event, { pointerId: 1, pointerType: "mouse" }));
  };
  click(one(all.cb, '[aria-label="Zoom in"]'));
  point(bar, "pointerdown", 300, 100);
  point(bar, "pointermove", 340, 104);
  const sideways = one(all.cb, ".cb-dropzone").hidden;
  point(bar, "pointerup", 340, 104);
  point(bar, "pointerdown", 300, 100);
  point(bar, "pointermove", 302, 80);
  const target = one(all.cb, '.cb-target[data-executor="local"]');
  const box = { left: 100, right: 160, top: 40, bottom: 60 };
  target.getBoundingClientRect = () => box as DOMRect;
  point(bar, "pointermove", 120, 50);
  const over = target.classList.contains("cb-over");
  point(bar, "pointerup", 120, 50);

  expect([sideways, over, one(all.cb, ".cb-dropzone").hidden]).toEqual([true, true, true]);
  expect(asked(all, "preview")).toMatchObject({ step: "check_inventory", executor: "local" });
});
