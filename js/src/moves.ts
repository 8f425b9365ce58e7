/** Wheel, drag and pinch: how hands move the picture. A plain wheel is the page's. */

import type { Frame, Zoom } from "./time";
import { panned, timeAt, windowed, zoomed } from "./time";

const PER_PIXEL = 0.0022; // of a wheel: a notch of 100 px zooms by a quarter
const LINE = 16; // px of a wheel that counts in lines
const DRAG = 5; // px before a press becomes a drag
const WINDOW = 8; // px before a drag on the axis is a window

export interface Moved {
  readonly frame: Frame;
  /** The last second there is. */
  readonly end: number;
  zoom(to: Zoom): void;
  /** The window that is being drawn on the axis, in px; null once it is done. */
  window(from: number, to: number): void;
  unwindow(): void;
}

export class Moves {
  private readonly fingers = new Map<number, number>(); // pointer -> x
  private drag: { id: number; x: number; y: number; last: number; moving: boolean } | null = null;
  private spread = 0; // px between two fingers
  private hushed = false;

  constructor(
    outer: HTMLElement,
    private readonly root: HTMLElement,
    private readonly axis: Element,
    private readonly chart: Moved,
  ) {
    root.addEventListener("wheel", (e) => this.onWheel(e), { passive: false });
    root.addEventListener("pointerdown", (e) => this.onDown(e));
    root.addEventListener("pointermove", (e) => this.onMove(e));
    for (const end of ["pointerup", "pointercancel"] as const) root.addEventListener(end, (e) => this.onUp(e));
    // The click that ends a drag is no click.
    outer.addEventListener("click", (e) => this.hushed && e.stopImmediatePropagation(), true);
    axis.addEventListener("pointerdown", (e) => this.onAxis(e as PointerEvent));
    axis.addEventListener("dblclick", () => this.chart.zoom(null));
  }

  private x(clientX: number): number {
    return clientX - this.root.getBoundingClientRect().left;
  }

  private onWheel(event: WheelEvent): void {
    const { frame, end } = this.chart;
    const unit = event.deltaMode === 1 ? LINE : 1;
    if (event.ctrlKey || event.metaKey) {
      event.preventDefault(); // a pinch on a touchpad comes like this too
      const at = Math.max(frame.from, Math.min(frame.to, timeAt(frame, this.x(event.clientX))));
      this.chart.zoom(zoomed(frame, Math.exp(event.deltaY * unit * PER_PIXEL), at, end));
      return;
    }
    const sideways = event.shiftKey ? event.deltaX || event.deltaY : event.deltaX;
    if (!event.shiftKey && Math.abs(event.deltaX) <= Math.abs(event.deltaY)) return;
    const next = panned(frame, sideways * unit, end);
    if (next === null) return; // the whole run is there: nothing to pan
    event.preventDefault();
    this.chart.zoom(next);
  }

  private onDown(event: PointerEvent): void {
    this.hushed = false;
    if (event.pointerType === "touch") this.fingers.set(event.pointerId, event.clientX);
    if (this.fingers.size === 2) {
      this.spread = this.between();
      this.drag = null;
      return;
    }
    const onBars = this.x(event.clientX) > this.chart.frame.left;
    if (event.button !== 0 || !onBars || this.axis.contains(event.target as Node)) return;
    const { pointerId: id, clientX: x, clientY: y } = event;
    this.drag = { id, x, y, last: x, moving: false };
  }

  private onMove(event: PointerEvent): void {
    if (this.fingers.has(event.pointerId)) this.fingers.set(event.pointerId, event.clientX);
    if (this.fingers.size === 2) {
      this.pinch();
      return;
    }
    const { drag } = this;
    if (drag?.id !== event.pointerId) return;
    if (!drag.moving) {
      const [dx, dy] = [Math.abs(event.clientX - drag.x), Math.abs(event.clientY - drag.y)];
      if (Math.max(dx, dy) < DRAG) return;
      if (dy > dx || panned(this.chart.frame, 0, this.chart.end) === null) {
        this.drag = null; // up and down is for others, and so is a drag of what cannot move
        return;
      }
      drag.moving = true;
      this.root.setPointerCapture(drag.id);
      this.root.classList.add("cb-dragging");
    }
    const { frame, end } = this.chart;
    this.chart.zoom(panned(frame, drag.last - event.clientX, end));
    drag.last = event.clientX;
  }

  private onUp(event: PointerEvent): void {
    this.fingers.delete(event.pointerId);
    if (this.drag?.id !== event.pointerId) return;
    this.hushed = this.drag.moving;
    this.drag = null;
    this.root.classList.remove("cb-dragging");
  }

  private between(): number {
    const [a = 0, b = 0] = [...this.fingers.values()];
    return Math.max(10, Math.abs(a - b));
  }

  private pinch(): void {
    const { frame, end } = this.chart;
    const [a = 0, b = 0] = [...this.fingers.values()];
    const spread = this.between();
    this.chart.zoom(zoomed(frame, this.spread / spread, timeAt(frame, this.x((a + b) / 2)), end));
    this.spread = spread;
    this.hushed = true;
  }

  /** A window of time, drawn on the axis from one end to the other. */
  private onAxis(down: PointerEvent): void {
    const from = this.x(down.clientX);
    if (down.button !== 0 || from < this.chart.frame.left - 4) return;
    down.preventDefault();
    const inside = (x: number): number => Math.max(this.chart.frame.left, Math.min(this.chart.frame.width, x));
    const move = (event: Event): void => this.chart.window(from, inside(this.x((event as PointerEvent).clientX)));
    const stop = (event: Event): void => {
      const to = inside(this.x((event as PointerEvent).clientX));
      this.axis.removeEventListener("pointermove", move);
      for (const end of ["pointerup", "pointercancel"]) this.axis.removeEventListener(end, stop);
      this.chart.unwindow();
      if (event.type === "pointerup" && Math.abs(to - from) >= WINDOW) {
        this.chart.zoom(windowed(this.chart.frame, from, to, this.chart.end));
      }
    };
    this.axis.setPointerCapture(down.pointerId);
    this.axis.addEventListener("pointermove", move);
    for (const end of ["pointerup", "pointercancel"]) this.axis.addEventListener(end, stop);
  }
}
