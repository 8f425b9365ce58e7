/** The chart: axis, grid, and those rows that are in sight. */

import { attr, html, svg, text } from "./dom";
import { history } from "./format";
import {
  AXIS_HEIGHT,
  type Frame,
  frame,
  type Paint,
  picture,
  position,
  rowHeight,
  shortened,
  ticks,
  timeAt,
  visible,
  zoomed,
} from "./layout";
import type { Row, Store } from "./model";
import { RowView } from "./rowview";
import type { ViewState } from "./viewstate";

const MOST_CURVES = 160;
const FRAME_MS = 50;
const RETRY_MS = 250;

export class Gantt {
  readonly root = html("div", "cb-scroll");
  private readonly axis = svg("svg", { class: "cb-axis", height: AXIS_HEIGHT, "aria-hidden": "true" });
  private readonly space = html("div", "cb-space");
  private readonly sheet = svg("svg", { class: "cb-sheet", role: "group" });
  private readonly grid = svg("path", { class: "cb-grid" });
  private readonly curves = svg("path", { class: "cb-curves" });
  private readonly lit = svg("path", { class: "cb-curves cb-lit" });
  private readonly nowLine = svg("path", { class: "cb-now" });
  private readonly list = svg("g");
  private readonly views = new Map<number, RowView>();
  private readonly spare: RowView[] = [];
  private readonly hatch: Record<Paint, string>;
  private longest = 0;
  private frameAsked = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private inSight = true;
  private f: Frame = { width: 0, left: 0, right: 1, from: 0, to: 1 };

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    private readonly pick: (row: Row) => void,
    private readonly leave: () => void,
  ) {
    const { defs, hatch } = patterns();
    this.hatch = hatch;
    this.sheet.append(defs, this.grid, this.list, this.curves, this.lit, this.nowLine);
    this.space.append(this.sheet);
    this.root.append(this.axis, this.space);
    this.root.addEventListener("scroll", () => this.schedule(), { passive: true });
    this.root.addEventListener("wheel", (e) => this.onWheel(e), { passive: false });
    this.list.addEventListener("click", (e) => this.onClick(e));
    this.list.addEventListener("keydown", (e) => this.onKey(e));
    this.list.addEventListener("pointerover", (e) => this.onHover(e));
    state.subscribe(() => this.schedule());
    this.adopt();
  }

  /** Everything may have changed. */
  adopt(): void {
    this.longest = this.store.rows.reduce((most, row) => Math.max(most, row.step.length), 0);
    attr(this.sheet, "aria-label", `Steps of ${this.store.header?.workflow ?? "the workflow"}`);
    if (!this.store.row(this.state.active)) this.state.active = this.store.rows[0]?.id ?? 0;
    this.schedule();
  }

  /** Whether anybody can see it: what nobody sees is not drawn. */
  setInSight(inSight: boolean): void {
    this.inSight = inSight;
    if (inSight) this.schedule();
  }

  schedule(): void {
    if (this.frameAsked || !this.inSight) return;
    this.frameAsked = requestAnimationFrame(() => {
      this.frameAsked = 0;
      this.draw();
    });
  }

  close(): void {
    cancelAnimationFrame(this.frameAsked);
    clearTimeout(this.timer);
  }

  /** Where the menu of a row may stand; the row is brought into sight first. */
  anchor(id: number): DOMRect {
    this.draw();
    return (this.views.get(id)?.anchor() ?? this.root).getBoundingClientRect();
  }

  focus(id: number): void {
    this.state.active = id;
    this.reveal(id);
    this.draw();
    this.views.get(id)?.root.focus({ preventScroll: true });
  }

  zoom(factor: number): void {
    const middle = (this.f.from + this.f.to) / 2;
    this.state.set({ zoom: zoomed(this.f, factor, middle, this.store.now()) });
  }

  draw(): void {
    const { store, state } = this;
    const width = this.root.clientWidth;
    if (width === 0) {
      // Without a size for a blink, as while JupyterLab changes its theme: the last picture stays, the next comes soon.
      this.later(RETRY_MS);
      return;
    }
    const rows = store.rows;
    const now = store.now();
    const height = rowHeight(rows.length);
    const f = frame(width, this.longest, state.zoom, now, store.running);
    this.f = f;
    const sight = visible(this.root.scrollTop, this.root.clientHeight, height, rows.length);
    const top = sight.first * height;
    const tall = (sight.end - sight.first) * height;
    this.space.style.height = `${rows.length * height}px`;
    this.sheet.style.transform = `translateY(${top}px)`;
    attr(this.sheet, "width", width);
    attr(this.sheet, "height", tall);
    this.drawTime(f, now, tall);
    this.drawRows(f, now, sight, height);
    this.drawCurves(f, sight, height);
    if (store.moving) this.later(FRAME_MS);
  }

  private later(ms: number): void {
    if (this.timer || !this.inSight || !this.root.isConnected) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.schedule();
    }, ms);
  }

  private drawTime(f: Frame, now: number, tall: number): void {
    attr(this.axis, "width", f.width);
    const found = ticks(f);
    while (this.axis.childElementCount > found.length) this.axis.lastElementChild?.remove();
    found.forEach((tick, i) => {
      const node = this.axis.children[i] ?? this.axis.appendChild(svg("text", { class: "cb-tick", y: 19 }));
      attr(node, "x", tick.x.toFixed(1));
      attr(node, "text-anchor", "middle");
      text(node, tick.label);
    });
    attr(this.grid, "d", found.map((t) => `M${Math.round(t.x) + 0.5} 0V${tall}`).join(""));
    const x = position(f, now).toFixed(1);
    const shown = this.store.running && now >= f.from && Number(x) < f.width;
    attr(this.nowLine, "d", shown ? `M${x} 0V${tall}` : "");
  }

  private drawRows(f: Frame, now: number, sight: { first: number; end: number }, height: number): void {
    const { store, state } = this;
    const wanted = store.rows.slice(sight.first, sight.end);
    const active = store.row(state.active);
    const place = store.place(state.active) ?? -1;
    // The row that Tab reaches stays in the document, else the keyboard would lose its place.
    if (active && place < sight.first) wanted.unshift(active);
    else if (active && place >= sight.end) wanted.push(active);
    const keep = new Set(wanted.map((row) => row.id));
    for (const [id, view] of this.views) {
      if (keep.has(id)) continue;
      view.root.remove();
      this.views.delete(id);
      this.spare.push(view);
    }
    const find = (id: number): Row | undefined => store.row(id);
    wanted.forEach((row, i) => {
      let view = this.views.get(row.id);
      if (!view) {
        view = this.spare.pop() ?? new RowView();
        this.views.set(row.id, view);
      }
      const there = this.list.children[i];
      if (there !== view.root) this.list.insertBefore(view.root, there ?? null);
      view.update(row, picture(f, row, now, find), {
        y: ((store.place(row.id) ?? 0) - sight.first) * height,
        height,
        width: f.width,
        name: shortened(row.step, f),
        active: row.id === state.active,
        selected: row.id === state.selected,
        hatch: this.hatch,
      });
    });
  }

  /** What waited for what, for rows in sight: the need that ended last, and all of them for the selected row. */
  private drawCurves(f: Frame, sight: { first: number; end: number }, height: number): void {
    const { store, state } = this;
    const thin: string[] = [];
    const lit: string[] = [];
    const y = (place: number, below: number): string =>
      ((place - sight.first + 0.5 + 0.26 * below) * height).toFixed(1);
    for (let i = sight.first; i < sight.end && thin.length < MOST_CURVES; i++) {
      const row = store.rows[i];
      const begun = row?.segments.at(-1); // its last attempt is the one that waited for its needs' last ends
      if (!row || !begun) continue;
      const ended = (id: number): number => store.row(id)?.segments.at(-1)?.end ?? Number.NEGATIVE_INFINITY;
      const latest = row.needs.reduce((a, b) => (ended(b) > ended(a) ? b : a), row.needs[0] ?? -1);
      for (const need of row.needs.length > 24 ? [latest] : row.needs) {
        const chosen = row.id === state.selected || need === state.selected;
        const from = store.place(need) ?? -1;
        if ((!chosen && need !== latest) || from < sight.first || from >= sight.end) continue;
        const [x1, x2] = [position(f, ended(need)), position(f, begun.start ?? begun.queued)];
        if (!(x1 >= f.left) || x2 < f.left || x1 > f.width || x2 > f.width) continue;
        const down = from < i ? 1 : -1;
        // Along the bottom of its own row, then down: never across the bars between.
        const turn = Math.max(x1, x2 - 8).toFixed(1);
        const [y1, y2, b] = [y(from, down), y(i, -down), x2.toFixed(1)];
        const d = `M${x1.toFixed(1)} ${y1}H${turn}C${Number(turn) + 7} ${y1} ${Number(b) - 5} ${y2} ${b} ${y2}`;
        (chosen ? lit : thin).push(d);
      }
    }
    attr(this.curves, "d", thin.join(""));
    attr(this.lit, "d", lit.join(""));
  }

  private rowOf(event: Event): Row | undefined {
    const node = event.target instanceof Element ? event.target.closest(".cb-row") : null;
    const id = node?.getAttribute("data-id");
    return id === null || id === undefined ? undefined : this.store.row(Number(id));
  }

  private onClick(event: MouseEvent): void {
    const row = this.rowOf(event);
    if (!row) return;
    this.focus(row.id);
    this.pick(row);
  }

  private onHover(event: Event): void {
    const row = this.rowOf(event);
    if (row) this.views.get(row.id)?.hover(history(row, this.store.now()));
  }

  private onKey(event: KeyboardEvent): void {
    const row = this.rowOf(event);
    if (!row || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const place = this.store.place(row.id) ?? 0;
    const last = this.store.rows.length - 1;
    const targets: Record<string, number> = {
      ArrowUp: place - 1,
      ArrowDown: place + 1,
      PageUp: place - 10,
      PageDown: place + 10,
      Home: 0,
      End: last,
    };
    const target = targets[event.key];
    if (event.key === "Enter" || event.key === " ") this.pick(row);
    else if (event.key === "Escape" && this.state.selected !== null) this.leave();
    else if (target !== undefined) {
      const next = this.store.rows[Math.min(last, Math.max(0, target))];
      if (next) this.focus(next.id);
    } else return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own keys
  }

  private onWheel(event: WheelEvent): void {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const x = event.clientX - this.root.getBoundingClientRect().left;
    const at = Math.max(this.f.from, Math.min(this.f.to, timeAt(this.f, x)));
    this.state.set({ zoom: zoomed(this.f, event.deltaY > 0 ? 1.25 : 0.8, at, this.store.now()) });
  }

  private reveal(id: number): void {
    const place = this.store.place(id);
    if (place === undefined) return;
    const height = rowHeight(this.store.rows.length);
    const seen = this.root.clientHeight - AXIS_HEIGHT;
    if (seen <= 0) return;
    const top = this.root.scrollTop;
    if (place * height < top) this.root.scrollTop = place * height;
    else if ((place + 1) * height > top + seen) this.root.scrollTop = (place + 1) * height - seen;
  }
}

/** Hatching, under names of its own: a page may hold many charts, and a hidden one must not take the others' along. */
function patterns(): { defs: SVGDefsElement; hatch: Record<Paint, string> } {
  const defs = svg("defs");
  const own = `cb${Math.random().toString(36).slice(2, 10)}`;
  const make = (name: string, ground: string, stripe: string, gap: number, turn: number): string => {
    const id = `${own}-${name}`;
    const size = { width: gap, height: gap };
    const pattern = svg("pattern", {
      id,
      ...size,
      patternUnits: "userSpaceOnUse",
      patternTransform: `rotate(${turn})`,
    });
    pattern.append(
      svg("rect", { ...size, fill: ground }),
      svg("rect", { width: 1.6, height: gap, fill: stripe, opacity: 0.4 }),
    );
    defs.append(pattern);
    return `url(#${id})`;
  };
  const hatch: Record<Paint, string> = {
    local: "var(--cb-local)",
    dist: make("dist", "var(--cb-dist)", "#fff", 6, 45),
    other: make("other", "var(--cb-other)", "#fff", 6, 135),
    bad: "var(--cb-bad)",
    badhatch: make("bad", "var(--cb-bad)", "#fff", 6, 45),
    grey: make("grey", "var(--cb-grey)", "#fff", 5, 135),
    none: "none",
  };
  return { defs, hatch };
}
