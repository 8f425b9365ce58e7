/** The widget in a document without a layout, and what a person does to it. */

import { vi } from "vitest";
import create from "../src/index";
import type { Snapshot } from "../src/model";
import { FakeModel } from "./fake";

export interface Shown {
  model: FakeModel;
  el: HTMLElement;
  cb: HTMLElement;
}

/** For `beforeEach`: timers that are moved by hand, an empty page, elements of a size. */
export function fresh(): () => void {
  vi.useFakeTimers({
    toFake: [
      "setTimeout",
      "clearTimeout",
      "setInterval",
      "clearInterval",
      "requestAnimationFrame",
      "cancelAnimationFrame",
    ],
  });
  document.body.replaceChildren();
  // jsdom has no layout: the chart is as wide and as high as it would be.
  Object.defineProperty(Element.prototype, "clientWidth", { configurable: true, get: () => 900 });
  Object.defineProperty(Element.prototype, "clientHeight", { configurable: true, get: () => 420 });
  HTMLCanvasElement.prototype.getContext = () => null; // jsdom has none, and says so
  Element.prototype.setPointerCapture = () => {};
  sessionStorage.clear();
  localStorage.clear();
  return () => vi.useRealTimers();
}

export function shown(snapshot: Snapshot | object): Shown {
  const model = new FakeModel(snapshot);
  const el = document.createElement("div");
  document.body.append(el);
  const widget = create();
  widget.initialize({ model });
  widget.render({ model, el });
  settle();
  return { model, el, cb: el.querySelector(".cb") as HTMLElement };
}

export function settle(): void {
  vi.advanceTimersByTime(40);
}

export function one(cb: HTMLElement, selector: string): HTMLElement {
  const found = cb.querySelector(selector);
  if (!found) throw new Error(`nothing matches ${selector}`);
  return found as HTMLElement;
}

export function press(node: Element | null, key: string): void {
  node?.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  settle();
}

export function click(node: Element): void {
  node.dispatchEvent(new MouseEvent("click", { bubbles: true }));
  settle();
}

export function row(cb: HTMLElement, step: string): HTMLElement {
  return one(cb, `.cb-row[data-step="${step}"]`);
}

export function group(cb: HTMLElement, name: string): HTMLElement {
  return one(cb, `.cb-group[data-group="${name}"]`);
}

/** The last question of a kind. */
export function asked(all: Shown, kind: string): Record<string, unknown> {
  const found = all.model.asked(kind).at(-1);
  if (!found) throw new Error(`nobody asked for ${kind}`);
  return found;
}

/** The kernel's answer to it. */
export function answer(all: Shown, kind: string, more: object): void {
  const { request, step, tab } = asked(all, kind);
  all.model.say({ kind, request, step, tab, ...more });
  settle();
}
