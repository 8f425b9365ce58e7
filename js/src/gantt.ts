/** The chart: what is in sight, and how hands and keys move it. */

import { drawnCurves } from "./curves";
import { attr, focused, html, svg } from "./dom";
import { isFiltered, NO_FILTER, wanted } from "./filter";
import { history } from "./format";
import { Gaps } from "./gaps";
import { type KeyHost, pressed } from "./keys";
import { AXIS_HEIGHT, decisionHeight, frame, rowHeight, wholeOf } from "./layout";
import { Minimap } from "./minimap";
import type { Group, Row, Store } from "./model";
import { Moves } from "./moves";
import { widest } from "./names";
import { groupPlace, isOpen, type Line, Outline } from "./outline";
import { Kin } from "./relatives";
import { RowLayer } from "./rowlayer";
import { type Frame, followed, isSameFrame, panned, type Squeeze, zoomed } from "./time";
import { TimeLayer } from "./timelayer";
import type { ViewState } from "./viewstate";

const FRAME_MS = 50;
const SLOW_FRAME_MS = 250;
const RETRY_MS = 250;
const KEEP_MS = 300;
const OVERSCAN = 8; // lines on both sides of what is in sight, for a quick scroll
const SOON_MS = 50; // after the first picture, for what is no part of it
const CHUNK = 64; // lines: rows keep their places within so many, and scrolling draws only those that come in

export class Gantt {
  readonly root = html("div", "cb-chart");
  private readonly box = html("div", "cb-scroll");
  private readonly space = html("div", "cb-space");
  private readonly sheet = svg("svg", { class: "cb-sheet", role: "group" });
  private readonly time = new TimeLayer();
  private readonly rows: RowLayer;
  private readonly map = new Minimap((top) => {
    this.box.scrollTop = top;
  });
  private readonly paths = {
    thin: svg("path", { class: "cb-curves" }),
    near: svg("path", { class: "cb-curves cb-near" }),
    critical: svg("path", { class: "cb-curves cb-held" }),
    lit: svg("path", { class: "cb-curves cb-lit" }),
  };
  private outline = new Outline([], [], new Map(), () => 0);
  private laidOut: readonly unknown[] = []; // what the outline was made of
  private longest: { of: unknown; count: number; px: number } = { of: null, count: 0, px: 0 };
  private readonly kin: Kin;
  private readonly gaps: Gaps;
  private wordy = false;
  private fresh = true; // the scroll of an earlier visit is to be taken up
  private early = true; // the first picture is not there yet, or has just come
  private frameAsked = 0;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private soon: ReturnType<typeof setTimeout> | undefined;
  private keeper: ReturnType<typeof setTimeout> | undefined;
  private inSight = true;
  private whole = 1; // seconds of the axis without zoom
  private drawn: { of: unknown; at: number } = { of: null, at: 0 }; // which snapshot, at which second of the run
  private f: Frame = { width: 0, left: 0, right: 1, from: 0, to: 1 };

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    private readonly pick: (row: Row) => void,
    private readonly leave: () => void,
  ) {
    this.rows = new RowLayer(store);
    this.gaps = new Gaps(store);
    this.kin = new Kin(store);
    const { thin, near, critical, lit } = this.paths;
    const { grid, cuts: gaps, lines, axis } = this.time;
    // Lines of time behind the rows: words stand out from them.
    this.sheet.append(this.rows.hatches.defs, gaps, grid, lines, this.rows.list, thin, near, critical, lit);
    this.space.append(this.sheet);
    this.box.append(axis, this.space);
    this.root.append(this.box, this.map.root);
    this.box.addEventListener("scroll", () => this.onScroll(), { passive: true });
    this.rows.list.addEventListener("click", (e) => this.onClick(e));
    this.rows.list.addEventListener("keydown", (e) => this.onKey(e));
    this.rows.list.addEventListener("pointerover", (e) => this.onHover(e));
    const chart = this;
    new Moves(this.root, this.box, axis, {
      get frame() {
        return chart.asked;
      },
      get end() {
        return chart.end;
      },
      zoom: (zoom) => state.set({ zoom }),
      window: (from, to) => this.time.window(from, to),
      unwindow: () => this.time.window(0, 0),
    });
    state.toChart = () => this.focus(this.outline.lines.find((line) => line.id >= 0)?.id ?? state.active);
    state.subscribe(() => {
      this.schedule();
      this.keep();
    });
  }

  /** Everything may have changed. */
  adopt(newRun = true): void {
    attr(this.sheet, "aria-label", `Steps of ${this.store.header?.workflow ?? "the workflow"}`);
    if (newRun) {
      this.wordy = false;
      this.fresh = true;
      this.gaps.forget();
    }
    this.see(this.store.rows);
    this.layOut();
    this.schedule();
  }

  /** Rows that changed. Once a step says what it does, there is room for words until the end: no axis that jumps. */
  see(rows: Iterable<Row>): void {
    if (this.wordy) return;
    for (const { doing, said, status } of rows) {
      this.wordy ||= doing !== "" || said !== "" || status === "sleeping" || status === "approval";
    }
  }

  /** What nobody sees is not drawn. */
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
    clearTimeout(this.soon);
    if (this.keeper) this.keepNow();
  }

  /** Where the menu of a row may stand; the row is brought into sight first. */
  anchor(id: number): DOMRect {
    this.draw();
    return (this.rows.view(id)?.anchor() ?? this.root).getBoundingClientRect();
  }

  /** Give the focus to a line, or to the closed group that it is in. */
  focus(id: number): void {
    this.layOut();
    const line = this.outline.lines[this.outline.shown(id) ?? -1];
    if (!line) return;
    this.state.active = line.id;
    this.reveal(line.id);
    this.draw();
    this.rows.view(line.id)?.root.focus({ preventScroll: true });
  }

  /** Open the groups around a task, and bring it into sight. */
  unfold(id: number): void {
    const folds = new Map(this.state.folds);
    for (const place of this.outline.around(id)) folds.set(this.groups[place]?.[0] ?? "", true);
    this.state.set({ folds });
    this.layOut();
    this.reveal(id);
  }

  /** The steps as they are shown, from top to bottom. */
  order(): readonly number[] {
    this.layOut();
    return this.outline.lines.map((line) => line.id).filter((id) => id >= 0);
  }

  zoom(factor: number): void {
    const f = this.asked;
    this.state.set({ zoom: zoomed(f, factor, (f.from + f.to) / 2, this.end) });
  }

  /** The frame as it is asked for: several moves may come before the next picture. */
  private get asked(): Frame {
    const { zoom } = this.state;
    return { ...this.f, from: zoom?.from ?? 0, to: zoom?.to ?? this.whole };
  }

  /** The last second there is to look at. */
  private get end(): number {
    return Math.max(this.store.now(), this.state.compared?.end ?? 0, 0.001);
  }

  private get groups(): readonly Group[] {
    return this.store.header?.groups ?? [];
  }

  private layOut(): void {
    const { store, state } = this;
    const { filter, folds } = state;
    // Where the status counts, or the critical path, every change may move lines; else only more rows do.
    const live = filter.statuses.size > 0 || filter.places.size > 0 || filter.critical;
    const of = [folds, filter, store.rows, store.rows.length, live && store.snapshot, live && state.selected];
    if (of.every((what, i) => what === this.laidOut[i]) && this.laidOut.length) return;
    this.laidOut = of;
    const total = store.rows.length + this.groups.length;
    const [high, slim] = [rowHeight(total), decisionHeight(total)];
    const height = (row: Row | null): number => (row?.kind === "decision" ? slim : high);
    const match = wanted(filter, this.kin.critical);
    // Who is open in the panel, or has the focus, does not vanish under the hand.
    const here = this.rows.list.contains(focused(this.root)) ? state.active : null;
    const stays = match && ((row: Row) => match(row) || row.id === state.selected || row.id === here);
    this.outline = new Outline(store.rows, this.groups, folds, height, stays);
    state.matches = match ? this.outline.found : null;
    if (this.longest.of !== store.rows || this.longest.count !== store.rows.length) {
      this.longest = { of: store.rows, count: store.rows.length, px: widest(store.rows, this.groups) };
    }
    const { outline } = this;
    if (outline.place(state.active) === undefined) {
      state.active = outline.lines[outline.shown(state.active) ?? 0]?.id ?? 0;
    }
  }

  private squeezed(now: number): Squeeze | null {
    const { gaps, compared } = this.state;
    if (this.early && !gaps) return null;
    const found = this.gaps.found(now, compared, gaps);
    this.state.idle = found !== null;
    return gaps ? found : null;
  }

  /** Now, in seconds. Between two pictures of time it stands still: who scrolls draws what comes in, and no more. */
  private moment(): number {
    const { drawn, store } = this;
    const now = store.now();
    const ahead = (now - drawn.at) * 1000;
    return drawn.of === store.snapshot && ahead >= 0 && ahead < 0.9 * FRAME_MS ? drawn.at : now;
  }

  draw(): void {
    const { store, state, box } = this;
    const width = box.clientWidth;
    if (width === 0) {
      // Without a size for a blink, as while JupyterLab changes its theme: the last picture stays, the next comes soon.
      this.later(RETRY_MS);
      return;
    }
    const told = [state.matches, state.idle];
    this.layOut();
    const { outline } = this;
    const { critical } = this.kin;
    const kin = this.kin.relatives(state.selected);
    const [running, finish] = [store.running, store.header?.finish ?? null];
    const now = this.moment();
    if (running) state.zoom = followed(state.zoom, this.drawn.at, now);
    this.drawn = { of: store.snapshot, at: now };
    const squeeze = this.squeezed(now);
    const wordy = this.wordy && running;
    const beyond = state.compared?.end ?? 0;
    const view = { zoom: state.zoom, now, running, wordy, finish, squeeze, beyond };
    const made = frame(width, this.longest.px, view);
    if (!isSameFrame(made, this.f)) this.f = made; // as one object, it says that nothing moved
    const { f } = this;
    this.whole = wholeOf(view);
    // All questions about sizes come before the first change: each later one would cost a layout.
    const seen = { top: box.scrollTop, height: box.clientHeight };
    this.space.style.height = `${outline.height}px`;
    if (this.fresh && state.scroll) {
      box.scrollTop = state.scroll;
      seen.top = box.scrollTop;
    }
    this.fresh = false;
    const { first, end } = outline.visible(seen.top, seen.height, this.early ? 0 : OVERSCAN);
    const top = outline.top(first - (first % CHUNK));
    const tall = outline.top(Math.min(outline.lines.length, Math.ceil(end / CHUNK) * CHUNK)) - top;
    const sight = { first, end, top };
    this.sheet.style.transform = `translateY(${top}px)`;
    attr(this.sheet, "width", width);
    attr(this.sheet, "height", tall);
    this.time.draw(f, now, running, finish, tall);
    const { folds, active, selected, filter, compared } = state;
    const filtered = isFiltered(filter);
    this.rows.draw({ f, now, outline, sight, folds, filtered, active, selected, relatives: kin, critical, compared });
    const curves = drawnCurves(f, store, outline, sight, selected, kin, critical);
    for (const kind of ["thin", "near", "critical", "lit"] as const) attr(this.paths[kind], "d", curves[kind]);
    this.map.draw(store, outline, seen, now, performance.now(), !this.early);
    if (this.early) this.soon ??= setTimeout(() => this.complete(), SOON_MS);
    if (told[0] !== state.matches || told[1] !== state.idle) state.set({}); // for those who say so in words
    // Where a pixel is a second or more, nothing moves that needs to be drawn so often.
    const pixelMs = ((f.to - f.from) / (f.right - f.left)) * 1000;
    if (store.moving) this.later(Math.min(SLOW_FRAME_MS, Math.max(FRAME_MS, pixelMs / 2)));
  }

  /** What is no part of the first picture: lines out of sight, the map, the gaps. */
  private complete(): void {
    this.early = false;
    this.schedule();
  }

  private later(ms: number): void {
    if (this.timer || !this.inSight || !this.root.isConnected) return;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.schedule();
    }, ms);
  }

  private onScroll(): void {
    this.schedule();
    this.keep();
  }

  private keep(): void {
    this.keeper ??= setTimeout(() => this.keepNow(), KEEP_MS);
  }

  private keepNow(): void {
    clearTimeout(this.keeper);
    this.keeper = undefined;
    const run = this.store.header?.run;
    if (run) this.state.keep(run, this.box.scrollTop);
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
    return group !== undefined && isOpen(group, this.state.folds, isFiltered(this.state.filter));
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
    const told = row ? [history(row, this.store.now()), this.state.compared?.told(row)] : [];
    if (row) this.rows.view(row.id)?.hover(told.filter(Boolean).join("\n"));
  }

  private onKey(event: KeyboardEvent): void {
    const line = this.lineOf(event);
    if (!line || !pressed(this.keys, line, event)) return;
    event.preventDefault();
    event.stopPropagation(); // the notebook has its own keys
  }

  private readonly keys: KeyHost = (() => {
    const chart = this;
    return {
      get last() {
        return chart.outline.lines.length - 1;
      },
      place: (line) => this.outline.place(line.id) ?? 0,
      placeOf: (id) => this.outline.place(id),
      go: (place) => this.focus(this.outline.lines[place]?.id ?? this.state.active),
      press: (line) => this.press(line),
      opened: (line) => this.opened(line),
      fold: (line, open) => this.fold(line, open),
      leave: () => {
        if (this.state.selected !== null) this.leave();
        else if (isFiltered(this.state.filter)) this.state.set({ filter: NO_FILTER });
        else return false;
        return true;
      },
      zoom: (factor) => this.zoom(factor),
      pan: (part) => this.state.set({ zoom: panned(this.asked, part * (this.f.right - this.f.left), this.end) }),
      fit: () => this.state.set({ zoom: null }),
      search: () => this.state.toSearch(),
    };
  })();

  private reveal(id: number): void {
    const { box, outline } = this;
    const place = outline.place(id);
    const seen = box.clientHeight - AXIS_HEIGHT;
    if (place !== undefined && seen > 0) box.scrollTop = outline.revealed(place, box.scrollTop, seen);
  }
}
