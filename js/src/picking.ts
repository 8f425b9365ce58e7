/** Several rows at once: Ctrl or Shift with a click, Shift with the arrows. The chart itself knows of one. */

import { html, text } from "./dom";

let count = 0;

export interface PickHost {
  /** Ids of the rows as they are shown. */
  order(): readonly number[];
  selected(): number | null;
  /** The rows that are picked now, the last one first among equals. */
  picked(ids: ReadonlySet<number>, last: number): void;
}

export class Picking {
  /** Marks the picked rows: by a rule, since rows come and go while one scrolls. */
  readonly style = html("style");
  private readonly name = `p${++count}`;
  private ids: ReadonlySet<number> = new Set();
  private anchor: number | null = null;

  constructor(
    private readonly root: HTMLElement,
    chart: HTMLElement,
    private readonly host: PickHost,
  ) {
    root.dataset.picks = this.name;
    chart.addEventListener("click", (e) => this.onClick(e), true);
    // A click with Shift would select the text in between.
    chart.addEventListener("mousedown", (e) => e.shiftKey && this.rowOf(e) !== null && e.preventDefault(), true);
    chart.addEventListener("keydown", (e) => this.onKey(e), true);
  }

  /** Two or more; none where only one row is selected. */
  get all(): ReadonlySet<number> {
    return this.ids;
  }

  clear(): void {
    if (this.ids.size) this.set(new Set());
    this.anchor = null;
  }

  private set(ids: ReadonlySet<number>): void {
    this.ids = ids;
    const rows = [...ids].map((id) => `[data-picks="${this.name}"] .cb-row[data-id="${id}"]`);
    const bands = rows.map((row) => `${row} .cb-band`).join();
    const ground = "--cb-ground:color-mix(in srgb,var(--cb-accent) 14%,var(--cb-bg))"; // behind the words
    text(this.style, rows.length ? `${bands}{fill:var(--cb-accent);fill-opacity:.14}${rows.join()}{${ground}}` : "");
    this.root.classList.toggle("cb-picks", ids.size > 0);
  }

  private rowOf(event: Event): number | null {
    const node = event.target instanceof Element ? event.target.closest(".cb-row") : null;
    const id = Number(node?.getAttribute("data-id") ?? -1);
    return id >= 0 ? id : null;
  }

  private onClick(event: MouseEvent): void {
    const id = this.rowOf(event);
    if (id === null) return;
    if (event.shiftKey) this.range(this.host.selected() ?? id, id);
    else if (event.ctrlKey || event.metaKey) this.toggle(id);
    else {
      this.clear();
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }

  private onKey(event: KeyboardEvent): void {
    const id = this.rowOf(event);
    const step = event.key === "ArrowDown" ? 1 : event.key === "ArrowUp" ? -1 : 0;
    if (id === null || !event.shiftKey || !step) return;
    const order = this.host.order();
    const next = order[order.indexOf(id) + step];
    event.preventDefault();
    event.stopPropagation();
    if (next === undefined) return;
    this.range(this.anchor ?? id, next);
  }

  private toggle(id: number): void {
    const before = this.host.selected();
    const ids = new Set(this.ids.size ? this.ids : before === null ? [] : [before]);
    if (ids.has(id)) ids.delete(id);
    else ids.add(id);
    const last = ids.has(id) ? id : ([...ids].at(-1) ?? id);
    this.anchor = last;
    this.set(ids.size > 1 ? ids : new Set());
    this.host.picked(ids, last);
  }

  private range(from: number, to: number): void {
    const order = this.host.order();
    const [a, b] = [order.indexOf(from), order.indexOf(to)];
    if (a < 0 || b < 0) return;
    const ids = new Set(order.slice(Math.min(a, b), Math.max(a, b) + 1));
    this.anchor = from;
    this.set(ids.size > 1 ? ids : new Set());
    this.host.picked(ids, to);
  }
}
