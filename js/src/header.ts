/** The two lines above the chart: the run as a whole, and what the colours mean. */

import { button, html, show, text } from "./dom";
import { duration, paint, split, timeOfDay } from "./format";
import type { Row, Store } from "./model";
import type { ViewState } from "./viewstate";

export interface Acts {
  rerun(): void;
  answer(): void;
  cancel(): void;
  zoom(factor: number): void;
  fit(): void;
}

export class HeaderBar {
  readonly root = html("div", "cb-head");
  private readonly name = html("b", "cb-title");
  private readonly run = html("span", "cb-mut");
  private readonly status = html("span", "cb-pill");
  private readonly elapsed = html("span", "cb-num cb-elapsed");
  private readonly asks: HTMLButtonElement;
  private readonly split = html("span", "cb-mut cb-num");
  private readonly rerun: HTMLButtonElement;
  private readonly cancel: HTMLButtonElement;

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    acts: Acts,
  ) {
    this.asks = button("cb-button cb-asks", "", () => acts.answer());
    this.rerun = button("cb-button cb-rerun", "Re-run…", () => acts.rerun());
    this.cancel = button("cb-button cb-cancel", "Cancel", () => acts.cancel());
    const end = html("span", "cb-end");
    end.append(this.split, this.rerun, this.cancel);
    this.root.append(this.name, this.run, this.status, this.elapsed, this.asks, end);
  }

  draw(): void {
    const header = this.store.header;
    if (!header) return;
    const reuses = header.reused_from ? `, reuses run ${header.reused_from}` : "";
    text(this.name, header.workflow);
    text(this.run, `run ${header.number}, ${timeOfDay(header.started_at)}${reuses}`);
    text(this.status, header.status);
    this.status.dataset.status = header.status;
    const asks = this.store.asks.length;
    text(this.asks, asks === 1 ? "1 waits for you" : `${asks} wait for you`);
    show(this.asks, asks > 0);
    text(this.split, split(header));
    show(this.rerun, this.store.rows.length > 0 && (!this.store.running || this.state.selected !== null));
    show(this.cancel, this.store.running);
    this.tick();
  }

  tick(): void {
    text(this.elapsed, duration(this.store.now() * 1000));
  }
}

export class Legend {
  readonly root = html("div", "cb-legend");
  private readonly keys = html("span", "cb-keys");
  private readonly done = html("span", "cb-num");
  private readonly fit: HTMLButtonElement;
  private known = new Map<string, string>();
  private drawn = "";

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    acts: Acts,
  ) {
    const zoom = html("span", "cb-zoom");
    const less = button("cb-button", "−", () => acts.zoom(1.6));
    const more = button("cb-button", "+", () => acts.zoom(0.625));
    this.fit = button("cb-button", "fit", () => acts.fit());
    less.setAttribute("aria-label", "Zoom out");
    more.setAttribute("aria-label", "Zoom in");
    this.fit.setAttribute("aria-label", "Show the whole run");
    zoom.append(less, more, this.fit);
    const end = html("span", "cb-end");
    end.append(this.done, zoom);
    this.root.append(this.keys, end);
  }

  /** Every kind that occurs, from the beginning. */
  adopt(): void {
    this.known = new Map();
    this.see(this.store.rows);
  }

  /** Rows that changed: a kind once seen stays in the legend. */
  see(rows: Iterable<Row>): void {
    const least = 0.004 * this.store.now();
    for (const row of rows) {
      // A decision has no bar: where it is made is no colour here.
      for (const place of row.kind === "decision" ? [] : [row, ...row.segments]) {
        this.known.set(place.remote ? place.where : "local", paint(place));
      }
      if (row.status === "sleeping" || row.status === "approval") this.known.set("paused", "pause");
      if (row.segments.some((s) => s.start === null || s.start - s.queued > least)) this.known.set("queue", "queue");
    }
    const rank = ["local", "dist", "other", "queue", "pause"];
    const list = [...this.known].sort((a, b) => rank.indexOf(a[1]) - rank.indexOf(b[1]));
    const now = JSON.stringify(list);
    if (now === this.drawn) return;
    this.drawn = now;
    this.keys.replaceChildren(
      ...list.map(([label, kind]) => {
        const key = html("span", "cb-key");
        key.append(html("i", `cb-swatch cb-swatch-${kind}`), label);
        return key;
      }),
    );
  }

  draw(): void {
    const header = this.store.header;
    if (header) text(this.done, `${header.done} of ${header.total} steps`);
    this.fit.disabled = this.state.zoom === null;
  }
}
