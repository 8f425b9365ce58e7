/** The chart: axis, grid, and those rows that are in sight. */

import { drawnCurves } from "./curves";
import { attr, html, svg, text } from "./dom";
import { history } from "./format";
import {
  AXIS_HEIGHT,
  begin,
  decisionHeight,
  type Frame,
  frame,
  groupPicture,
  indent,
  picture,
  position,
  rowHeight,
  shortened,
  ticks,
  timeAt,
  zoomed,
} from "./layout";
import { type Hatch, patterns } from "./marks";
import type { Group, Row, Store } from "./model";
import { groupAround, groupPlace, isOpen, type Line, Outline, type Summary, shortName, summarise } from "./outline";
import { GroupView, type Look, RowView } from "./rowview";
import type { ViewState } from "./viewstate";

const FRAME_MS = 50;
const SLOW_FRAME_MS = 250;
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
  private readonly views = new Map<number, RowView | GroupView>();
  private readonly spareRows: RowView[] = [];
  private readonly spareGroups: GroupView[] = [];
  private readonly hatch: Hatch;
  private outline = new Outline([], [], new Map(), () => 0);
  private folds: ReadonlyMap<string, boolean> | null = null; // those that the outline was made with
  private summaries = new Map<number, Summary>();
  private summed: unknown = null; // the snapshot that they are of
  private longest = 0;
  private wordy = false;
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
  adopt(newRun = true): void {
    attr(this.sheet, "aria-label", `Steps of ${this.store.header?.workflow ?? "the workflow"}`);
    this.folds = null;
    if (newRun) this.wordy = false;
    this.see(this.store.rows);
    this.layOut();
    this.schedule();
  }

  /** Rows that changed. Once a step says what it does, there is room for words until the end: no axis that jumps. */
  see(rows: Iterable<Row>): void {
    if (this.wordy) return;
    for (const row of rows) this.wordy ||= row.doing !== "" || row.status === "sleeping" || row.status === "approval";
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

  /** Give the focus to a line, or to the closed group that it is in. */
  focus(id: number): void {
    this.layOut();
    const line = this.outline.lines[this.outline.shown(id) ?? -1];
    if (!line) return;
    this.state.active = line.id;
    this.reveal(line.id);
    this.draw();
    this.views.get(line.id)?.root.focus({ preventScroll: true });
  }

  /** Open the groups around a task, and bring it into sight. */
  unfold(id: number): void {
    const folds = new Map(this.state.folds);
    for (const place of this.outline.around(id)) folds.set(this.groups[place]?.[0] ?? "", true);
    this.state.set({ folds });
    this.layOut();
    this.reveal(id);
  }

  private get groups(): readonly Group[] {
    return this.store.header?.groups ?? [];
  }

  private layOut(): void {
    const { store, state } = this;
    if (this.folds === state.folds) return;
    this.folds = state.folds;
    const total = store.rows.length + this.groups.length;
    const [high, slim] = [rowHeight(total), decisionHeight(total)];
    const height = (row: Row | null): number => (row?.kind === "decision" ? slim : high);
    this.outline = new Outline(store.rows, this.groups, state.folds, height);
    // An indent is two characters wide. Closed groups count as if open: opening one must not move the bars.
    this.longest = store.rows.reduce((most, row) => {
      const depth = row.group ? row.group.split("/").length : 0;
      return Math.max(most, shortName(row.step, row.group).length + 2 * depth);
    }, 0);
    for (const [name] of this.groups) {
      const short = shortName(name, groupAround(name, this.groups));
      this.longest = Math.max(this.longest, short.length + 2 * name.split("/").length);
    }
    if (this.outline.shown(state.active) === undefined) state.active = this.outline.lines[0]?.id ?? 0;
    else if (this.outline.place(state.active) === undefined) {
      state.active = this.outline.lines[this.outline.shown(state.active) ?? 0]?.id ?? 0;
    }
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
    this.layOut();
    const { outline } = this;
    const now = store.now();
    const f = frame(width, this.longest, state.zoom, now, store.running, this.wordy && store.running);
    this.f = f;
    const sight = outline.visible(this.root.scrollTop, this.root.clientHeight);
    const top = outline.top(sight.first);
    const tall = outline.top(sight.end) - top;
    this.space.style.height = `${outline.height}px`;
    this.sheet.style.transform = `translateY(${top}px)`;
    attr(this.sheet, "width", width);
    attr(this.sheet, "height", tall);
    this.drawTime(f, now, tall);
    this.drawRows(f, now, sight);
    const [thin, lit] = drawnCurves(f, store, outline, sight, state.selected);
    attr(this.curves, "d", thin);
    attr(this.lit, "d", lit);
    // Where a pixel is a second or more, nothing moves that needs to be drawn so often.
    const pixelMs = ((f.to - f.from) / (f.right - f.left)) * 1000;
    if (store.moving) this.later(Math.min(SLOW_FRAME_MS, Math.max(FRAME_MS, pixelMs / 2)));
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

  private drawRows(f: Frame, now: number, sight: { first: number; end: number }): void {
    const { outline, state } = this;
    const wanted = outline.lines.slice(sight.first, sight.end);
    const place = outline.place(state.active) ?? -1;
    const active = outline.lines[place];
    // The row that Tab reaches stays in the document, else the keyboard would lose its place.
    if (active && place < sight.first) wanted.unshift(active);
    else if (active && place >= sight.end) wanted.push(active);
    const keep = new Set(wanted.map((line) => line.id));
    for (const [id, view] of this.views) {
      if (keep.has(id)) continue;
      view.root.remove();
      this.views.delete(id);
      if (view instanceof RowView) this.spareRows.push(view);
      else this.spareGroups.push(view);
    }
    if (this.summed !== this.store.snapshot) {
      this.summed = this.store.snapshot;
      this.summaries = new Map();
    }
    wanted.forEach((line, i) => {
      const view = line.id < 0 ? this.drawGroup(f, now, line, sight.first) : this.drawRow(f, now, line, sight.first);
      const there = this.list.children[i];
      if (view && there !== view.root) this.list.insertBefore(view.root, there ?? null);
    });
  }

  private drawRow(f: Frame, now: number, line: Line, first: number): RowView | undefined {
    const row = this.store.row(line.id);
    if (!row) return undefined;
    const known = this.views.get(line.id);
    const view = known instanceof RowView ? known : (this.spareRows.pop() ?? new RowView());
    this.views.set(line.id, view);
    const name = shortName(row.step, row.group);
    view.update(
      row,
      picture(f, row, now, (id) => this.store.row(id)),
      this.look(f, line, name, first),
    );
    return view;
  }

  private drawGroup(f: Frame, now: number, line: Line, first: number): GroupView | undefined {
    const group = this.groups[groupPlace(line.id)];
    if (!group) return undefined;
    const known = this.views.get(line.id);
    const view = known instanceof GroupView ? known : (this.spareGroups.pop() ?? new GroupView());
    this.views.set(line.id, view);
    const rows = this.store.rows.slice(this.store.place(group[1]), (this.store.place(group[2] - 1) ?? Infinity) + 1);
    const summary = this.summaries.get(line.id) ?? summarise(rows);
    this.summaries.set(line.id, summary);
    const open = isOpen(group, this.state.folds);
    const at = rows[0] ? begin(rows[0], (id) => this.store.row(id)) : 0;
    const drawn = groupPicture(f, summary, open, now, at);
    const name = shortName(group[0], groupAround(group[0], this.groups));
    view.update(line.id, group, summary, open, drawn, this.look(f, line, name, first));
    return view;
  }

  private look(f: Frame, line: Line, name: string, first: number): Look {
    const { outline, state } = this;
    const place = outline.place(line.id) ?? 0;
    const before = indent(line.depth);
    return {
      y: outline.top(place) - outline.top(first),
      height: outline.heightOf(place),
      width: f.width,
      name: shortened(name, f, before),
      indent: before,
      active: line.id === state.active,
      selected: line.id === state.selected,
      hatch: this.hatch,
    };
  }

  private lineOf(event: Event): Line | undefined {
    const node = event.target instanceof Element ? event.target.closest(".cb-row") : null;
    const id = node?.getAttribute("data-id");
    return id === null || id === undefined ? undefined : this.outline.lines[this.outline.place(Number(id)) ?? -1];
  }

  private onClick(event: MouseEvent): void {
    const line = this.lineOf(event);
    if (!line) return;
    this.focus(line.id);
    this.press(line);
  }

  private press(line: Line): void {
    const row = this.store.row(line.id);
    if (row) this.pick(row);
    else this.fold(line, !this.opened(line));
  }

  private opened(line: Line): boolean {
    const group = this.groups[groupPlace(line.id)];
    return group !== undefined && isOpen(group, this.state.folds);
  }

  private fold(line: Line, open: boolean): void {
    const group = this.groups[groupPlace(line.id)];
    if (!group) return;
    this.state.set({ folds: new Map(this.state.folds).set(group[0], open) });
    this.focus(line.id);
  }

  private onHover(event: Event): void {
    const line = this.lineOf(event);
    const row = line && this.store.row(line.id);
    if (row) this.views.get(row.id)?.hover(history(row, this.store.now()));
  }

  private onKey(event: KeyboardEvent): void {
    const line = this.lineOf(event);
    if (!line || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    const place = this.outline.place(line.id) ?? 0;
    const last = this.outline.lines.length - 1;
    const targets: Record<string, number> = {
      ArrowUp: place - 1,
      ArrowDown: place + 1,
      PageUp: place - 10,
      PageDown: place + 10,
      Home: 0,
      End: last,
    };
    const target = targets[event.key] ?? this.sideways(event.key, line);
    if (event.key === "Enter" || event.key === " ") this.press(line);
    else if (event.key === "Escape" && this.state.selected !== null) this.leave();
    else if (target !== undefined) {
      const next = this.outline.lines[Math.min(last, Math.max(0, target))];
      if (next) this.focus(next.id);
    } else return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own keys
  }

  /** As in every tree: right opens and then goes in, left closes and then goes out. */
  private sideways(key: string, line: Line): number | undefined {
    if (key !== "ArrowRight" && key !== "ArrowLeft") return undefined;
    const place = this.outline.place(line.id) ?? 0;
    const open = line.id < 0 && this.opened(line);
    if (key === "ArrowRight" && open) return place + 1;
    if (key === "ArrowLeft" && !open) return line.parent ? this.outline.place(line.parent) : undefined;
    if (line.id >= 0) return undefined;
    this.fold(line, key === "ArrowRight");
    return this.outline.place(line.id);
  }

  private onWheel(event: WheelEvent): void {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const x = event.clientX - this.root.getBoundingClientRect().left;
    const at = Math.max(this.f.from, Math.min(this.f.to, timeAt(this.f, x)));
    this.state.set({ zoom: zoomed(this.f, event.deltaY > 0 ? 1.25 : 0.8, at, this.store.now()) });
  }

  private reveal(id: number): void {
    const place = this.outline.place(id);
    if (place === undefined) return;
    const seen = this.root.clientHeight - AXIS_HEIGHT;
    if (seen <= 0) return;
    const [begins, ends] = [this.outline.top(place), this.outline.top(place + 1)];
    if (begins < this.root.scrollTop) this.root.scrollTop = begins;
    else if (ends > this.root.scrollTop + seen) this.root.scrollTop = ends - seen;
  }
}
