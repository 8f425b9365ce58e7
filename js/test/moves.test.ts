// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import { many } from "../fixtures/snapshots.mjs";
import type { Row } from "../src/model";
import { fixture, patch } from "./fake";
import { click, fresh, one, press, row, settle, shown } from "./host";

beforeEach(() => fresh());

const ticks = (cb: HTMLElement): string =>
  [...cb.querySelectorAll(".cb-axis .cb-tick")].map((node) => node.textContent).join(" ");
const steps = (cb: HTMLElement): (string | undefined)[] =>
  [...cb.querySelectorAll<HTMLElement>(".cb-row:not(.cb-group)")].map((node) => node.dataset.step);
const isWhole = (cb: HTMLElement): boolean => (one(cb, ".cb-fit") as HTMLButtonElement).disabled;

function wheel(cb: HTMLElement, init: WheelEventInit): boolean {
  const event = new WheelEvent("wheel", { bubbles: true, cancelable: true, clientX: 400, ...init });
  one(cb, ".cb-scroll").dispatchEvent(event);
  settle();
  return event.defaultPrevented;
}

function point(node: Element, type: string, clientX: number, more: object = {}): void {
  const event = new MouseEvent(type, { bubbles: true, cancelable: true, clientX, button: 0, ...more });
  Object.defineProperties(event, {
    pointerId: { value: (more as { id?: number }).id ?? 1 },
    pointerType: { value: (more as { id?: number }).id ? "touch" : "mouse" },
  });
  node.dispatchEvent(event);
}

function type(cb: HTMLElement, words: string): void {
  const input = one(cb, ".cb-search") as HTMLInputElement;
  input.value = words;
  input.dispatchEvent(new Event("input", { bubbles: true }));
  settle();
}

test("a plain wheel is the page's; with Ctrl or Meta it zooms, with Shift or sideways it pans", () => {
  const { cb } = shown(fixture("finished"));
  const whole = ticks(cb);

  expect([wheel(cb, { deltaY: -100 }), wheel(cb, { deltaY: 100, shiftKey: true })]).toEqual([false, false]);
  expect([ticks(cb), isWhole(cb)]).toEqual([whole, true]);
  expect([wheel(cb, { deltaY: -300, ctrlKey: true }), isWhole(cb)]).toEqual([true, false]);
  const close = ticks(cb);
  expect([wheel(cb, { deltaY: 100, shiftKey: true }), ticks(cb) !== close]).toEqual([true, true]);
  const later = ticks(cb);
  expect([wheel(cb, { deltaX: -50 }), ticks(cb) !== later, wheel(cb, { deltaY: 30 })]).toEqual([true, true, false]);
  wheel(cb, { deltaY: 3000, metaKey: true });
  expect([ticks(cb), isWhole(cb)]).toEqual([whole, true]);
});

test("a drag pans once there is more than is seen, and is no click", () => {
  const { cb, model } = shown(fixture("finished"));
  const band = one(cb, '.cb-row[data-step="check_inventory"] .cb-band');
  const drag = (): void => {
    point(band, "pointerdown", 500);
    point(band, "pointermove", 440);
    point(band, "pointermove", 420);
    point(band, "pointerup", 420);
    click(band);
  };
  wheel(cb, { deltaY: -300, ctrlKey: true });
  const before = ticks(cb);
  drag();

  expect([ticks(cb) !== before, cb.querySelector(".cb-selected"), model.asked("details")]).toEqual([true, null, []]);
  point(band, "pointerdown", 500);
  point(band, "pointerup", 500);
  click(band);
  expect(one(cb, ".cb-selected").dataset.step).toBe("check_inventory");
});

test("two fingers zoom", () => {
  const { cb } = shown(fixture("finished"));
  const box = one(cb, ".cb-scroll");
  point(box, "pointerdown", 300, { id: 7 });
  point(box, "pointerdown", 400, { id: 8 });
  point(box, "pointermove", 600, { id: 8 });
  settle();

  expect(isWhole(cb)).toBe(false);
});

test("a drag on the axis is a window of time, two clicks show all again", () => {
  const { cb } = shown(fixture("finished"));
  const axis = one(cb, ".cb-axis");
  point(axis, "pointerdown", 300);
  point(axis, "pointermove", 500);
  const drawn = axis.querySelector(".cb-window")?.getAttribute("width");
  point(axis, "pointerup", 500);
  settle();

  expect([drawn, axis.querySelector(".cb-window")?.getAttribute("width"), isWhole(cb)]).toEqual([
    "200.0",
    "0.0",
    false,
  ]);
  axis.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
  settle();
  expect(isWhole(cb)).toBe(true);
});

test("keys zoom, pan and fit", () => {
  const { cb } = shown(fixture("finished"));
  const node = row(cb, "check_inventory");
  const whole = ticks(cb);
  press(node, "+");
  const close = ticks(cb);
  node.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight", shiftKey: true, bubbles: true }));
  settle();
  const later = ticks(cb);
  press(node, "-");
  press(node, "0");

  expect(new Set([whole, close, later]).size).toBe(3);
  expect(ticks(cb)).toBe(whole);
});

test("a slash goes to the search, Enter to what is found, Escape back to all", () => {
  const { cb } = shown(fixture("finished"));
  press(row(cb, "validate_order"), "/");
  expect(document.activeElement).toBe(one(cb, ".cb-search"));
  type(cb, "pay");
  press(one(cb, ".cb-search"), "Enter");

  expect([steps(cb), (document.activeElement as HTMLElement).dataset.step]).toEqual([
    ["process_payment"],
    "process_payment",
  ]);
  expect(one(cb, ".cb-found").textContent).toBe("1 of 5 shown");
  press(one(cb, ".cb-search"), "Escape");
  expect([steps(cb).length, one(cb, ".cb-found").textContent]).toEqual([5, "5 of 5 steps"]);
});

test("keys of the legend show only their place or status, and say that they are pressed", () => {
  const { cb } = shown(fixture("rerun"));
  click(one(cb, '[data-place="distributed"]'));
  click(one(cb, '[data-count="succeeded"]'));

  expect(steps(cb)).toEqual(["process_payment"]);
  expect([...cb.querySelectorAll('[aria-pressed="true"]')].map((node) => node.textContent)).toEqual([
    "distributed",
    "2 succeeded",
  ]);
  press(row(cb, "process_payment"), "Escape");
  expect([steps(cb).length, cb.querySelectorAll('[aria-pressed="true"]').length]).toEqual([8, 0]);
  click(one(cb, '[data-place="distributed"]'));
  click(one(cb, ".cb-link"));
  expect(steps(cb).length).toBe(8);
});

test("a filter by status follows the run, and what is under the hand stays", () => {
  const snapshot = fixture("running");
  const { cb, model } = shown(snapshot);
  click(one(cb, '[data-count="running"]'));
  row(cb, "process_payment").focus();
  const ended = { ...(snapshot.rows[3] as Row), status: "succeeded" };
  const next = { ...(snapshot.rows[4] as Row), status: "running" };
  model.say(patch(snapshot, 13, [ended, next]));
  settle();

  expect(steps(cb)).toEqual(["process_payment", "finalize_order"]);
  expect((document.activeElement as HTMLElement).dataset.step).toBe("process_payment");
  (document.activeElement as HTMLElement).blur();
  model.say(patch(snapshot, 14, [ended]));
  settle();
  expect(steps(cb)).toEqual(["finalize_order"]);
});

test("only what holds the run up is shown on request", () => {
  const { cb } = shown(fixture("finished"));
  click([...cb.querySelectorAll(".cb-key")].at(-1) as Element);

  expect(steps(cb)).not.toContain("calculate_tax");
  expect(steps(cb).length).toBe(4);
});

test("beside the selected step its relatives stay bright, the others step back", () => {
  const { cb } = shown(fixture("finished"));
  click(row(cb, "check_inventory"));

  expect([...cb.querySelectorAll<HTMLElement>(".cb-dim")].map((node) => node.dataset.step)).toEqual(["calculate_tax"]);
  expect(one(cb, ".cb-lit").getAttribute("d")?.match(/M/g)?.length).toBe(2);
});

test("the path that holds the run up is a line under its bars", () => {
  const { cb } = shown(fixture("finished"));

  expect(
    [...cb.querySelectorAll<HTMLElement>(".cb-row")].map((node) => node.querySelector(".cb-critical") !== null),
  ).toEqual([true, true, false, true, true]);
});

test("idle gaps are cut on demand, and only where there are any", () => {
  const { cb } = shown(fixture("overnight"));
  settle();
  const toggle = [...cb.querySelectorAll("button")].find((node) => node.textContent === "cut gaps") as HTMLElement;
  const plain = ticks(cb);
  click(toggle);

  expect([toggle.getAttribute("aria-pressed"), ticks(cb).includes("⋯ 12 h"), ticks(cb) !== plain]).toEqual([
    "true",
    true,
    true,
  ]);
  const { cb: other } = shown(fixture("finished"));
  const none = [...other.querySelectorAll("button")].find((node) => node.textContent === "cut gaps");
  expect(none?.hidden).toBe(true);
});

test("a map of all rows stands beside many of them, and goes to where it is pressed", () => {
  const { cb } = shown(many(1000));
  const map = one(cb, ".cb-minimap");
  expect([map.hidden, map.getAttribute("aria-hidden")]).toEqual([false, "true"]);

  map.dispatchEvent(new MouseEvent("pointerdown", { clientY: 210, bubbles: true }));
  expect(Math.round(one(cb, ".cb-scroll").scrollTop)).toBe(Math.round(500 * 26 - 210));
  expect(one(shown(fixture("finished")).cb, ".cb-minimap").hidden).toBe(true);
});

test("how a run was looked at comes back with it in this tab", () => {
  const first = shown(fixture("finished"));
  press(row(first.cb, "check_inventory"), "+");
  type(first.cb, "order");
  vi.advanceTimersByTime(400);
  const other = shown({ ...fixture("finished"), header: { ...fixture("finished").header, run: "r99" } });
  const again = shown(fixture("finished"));

  expect([ticks(again.cb), steps(again.cb)]).toEqual([ticks(first.cb), steps(first.cb)]);
  expect((one(again.cb, ".cb-search") as HTMLInputElement).value).toBe("order");
  expect([isWhole(other.cb), steps(other.cb).length]).toEqual([true, 5]);
  expect(JSON.stringify(first.model.sent)).not.toContain("zoom");
});

test.each(["null", "[]", "{", '{"zoom":{"from":"x"},"folds":7,"filter":{"statuses":[1]}}'])(
  "a memory that makes no sense is none: %s",
  (value) => {
    sessionStorage.setItem("cerebelum_nb:view:r7", value);
    const { cb } = shown(fixture("finished"));

    expect([isWhole(cb), steps(cb).length]).toEqual([true, 5]);
  },
);

test("a page that forbids memory is shown all the same", () => {
  const forbid = vi.spyOn(globalThis, "sessionStorage", "get").mockImplementation(() => {
    throw new DOMException("no", "SecurityError");
  });
  const { cb } = shown(fixture("finished"));
  press(row(cb, "check_inventory"), "+");
  vi.advanceTimersByTime(400);
  forbid.mockRestore();

  expect(isWhole(cb)).toBe(false);
});

test("of ten thousand rows those of one status are found", () => {
  const { cb } = shown(many(10_000));
  click(one(cb, '[data-count="running"]'));

  expect(one(cb, ".cb-found").textContent).toBe("16 of 10,000 shown");
  expect(cb.querySelectorAll(".cb-row").length).toBe(16);
});

test("the keys of the legend are one stop of the Tab key each, arrows go along them", () => {
  const { cb } = shown(fixture("pools"));
  const keys = one(cb, ".cb-keys");
  const stops = (): (string | null)[] =>
    [...keys.querySelectorAll("button")].filter((node) => node.tabIndex === 0).map((node) => node.textContent);

  expect([keys.getAttribute("role"), stops()]).toEqual(["toolbar", ["local"]]);
  (keys.querySelector("button") as HTMLElement).focus();
  press(document.activeElement, "ArrowRight");
  expect([document.activeElement?.textContent, stops()]).toEqual(["distributed", ["distributed"]]);
  press(document.activeElement, "End");
  expect(document.activeElement?.textContent).toBe("critical path");
  press(document.activeElement, "ArrowRight");
  expect(document.activeElement?.textContent).toBe("critical path");
});
