/** A row that is taken up and dropped on another executor: the same as choosing it in the panel. */

import { html, show } from "./dom";
import type { Executor, Row } from "./model";

const BEGINS_PX = 6;

export interface CarryHost {
  row(id: number): Row | undefined;
  /** What goes along: all that is picked, or the row alone. */
  carried(row: Row): readonly Row[];
  executors(): readonly Executor[];
  /** The picture can be moved sideways. */
  zoomed(): boolean;
  dropped(rows: readonly Row[], executor: string): void;
}

export class Carrying {
  /** Where a bar can be dropped; there only while one is carried. */
  readonly root = html("div", "cb-dropzone");
  private from: { id: number; x: number; y: number; row: Row } | null = null;
  private rows: readonly Row[] = [];
  private targets: HTMLElement[] = [];

  constructor(
    private readonly chart: HTMLElement,
    private readonly host: CarryHost,
  ) {
    this.root.hidden = true;
    this.root.setAttribute("aria-hidden", "true"); // by keys one moves from the panel
    chart.addEventListener("pointerdown", (e) => this.onDown(e));
    chart.addEventListener("pointermove", (e) => this.onMove(e));
    chart.addEventListener("pointerup", (e) => this.onUp(e));
    chart.addEventListener("pointercancel", () => this.end());
    chart.addEventListener("keydown", (e) => e.key === "Escape" && this.end());
  }

  private onDown(event: PointerEvent): void {
    this.end();
    // Anywhere on the row: a bar may be too thin to be taken hold of.
    const line = event.target instanceof Element ? event.target.closest(".cb-row") : null;
    const id = Number(line?.getAttribute("data-id") ?? -1);
    const row = id >= 0 ? this.host.row(id) : undefined;
    const plain = event.button === 0 && event.pointerType !== "touch" && !event.shiftKey && !event.ctrlKey;
    if (!plain || row?.kind !== "step" || this.host.executors().length < 2) return;
    this.from = { id: event.pointerId, x: event.clientX, y: event.clientY, row };
  }

  private onMove(event: PointerEvent): void {
    const { from } = this;
    if (from?.id !== event.pointerId) return;
    if (this.root.hidden) {
      const [dx, dy] = [Math.abs(event.clientX - from.x), Math.abs(event.clientY - from.y)];
      if (Math.max(dx, dy) < BEGINS_PX) return;
      if (dx > dy && this.host.zoomed()) {
        this.from = null; // sideways moves the picture
        return;
      }
      this.take(from.row, event.pointerId);
    }
    for (const target of this.targets) target.classList.toggle("cb-over", isOver(target, event));
  }

  private onUp(event: PointerEvent): void {
    const { rows } = this;
    const target = this.root.hidden ? undefined : this.targets.find((node) => isOver(node, event));
    this.end();
    const executor = target?.dataset.executor;
    if (executor && rows.length) this.host.dropped(rows, executor);
  }

  private take(row: Row, pointer: number): void {
    this.rows = this.host.carried(row);
    const what = this.rows.length > 1 ? `${this.rows.length} steps` : row.step;
    this.targets = this.host.executors().map((executor) => {
      const node = html("span", "cb-target", executor.label);
      node.dataset.executor = executor.name;
      return node;
    });
    this.root.replaceChildren(html("span", "cb-mut", `Move ${what} to`), ...this.targets);
    show(this.root, true);
    getSelection()?.removeAllRanges(); // what the first pixels of the way have marked
    this.chart.classList.add("cb-carrying");
    this.chart.setPointerCapture?.(pointer); // the click that ends it falls on no row
  }

  private end(): void {
    this.from = null;
    this.rows = [];
    show(this.root, false);
    this.chart.classList.remove("cb-carrying");
  }
}

function isOver(node: HTMLElement, event: MouseEvent): boolean {
  const box = node.getBoundingClientRect();
  const inside = (at: number, from: number, to: number): boolean => at >= from - 3 && at <= to + 3;
  return inside(event.clientX, box.left, box.right) && inside(event.clientY, box.top, box.bottom);
}
