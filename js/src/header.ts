/** The line above the chart: the run as a whole. */

import { Comparing } from "./comparing";
import { button, html, show, text } from "./dom";
import { duration, ending, split, statusName, timeOfDay } from "./format";
import type { Store } from "./model";
import type { ViewState } from "./viewstate";

export { Legend } from "./legend";

export interface Acts {
  rerun(): void;
  answer(): void;
  cancel(): void;
  zoom(factor: number): void;
  fit(): void;
  say(what: string): void;
}

export class HeaderBar {
  readonly root = html("div", "cb-head");
  readonly comparing: Comparing;
  private readonly name = html("b", "cb-title");
  private readonly run = html("span", "cb-mut");
  private readonly status = html("span", "cb-pill");
  private readonly elapsed = html("span", "cb-num cb-elapsed");
  private readonly ends = html("span", "cb-mut cb-num cb-ends");
  private readonly asks: HTMLButtonElement;
  private readonly split = html("span", "cb-mut cb-num");
  private readonly rerun: HTMLButtonElement;
  private readonly cancel: HTMLButtonElement;
  private readonly note = html("div", "cb-note");

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    acts: Acts,
  ) {
    this.asks = button("cb-button cb-asks", "", () => acts.answer());
    this.rerun = button("cb-button cb-rerun", "Re-run…", () => acts.rerun());
    this.cancel = button("cb-button cb-cancel", "Cancel", () => acts.cancel());
    this.comparing = new Comparing(store, state, (what) => acts.say(what));
    const end = html("span", "cb-end");
    end.append(this.split, this.rerun, this.cancel);
    const words = [this.name, this.run, this.status, this.elapsed, this.ends, this.asks];
    this.root.append(...words, this.comparing.root, end, this.note);
  }

  draw(): void {
    const header = this.store.header;
    if (!header) return;
    const reuses = header.reused_from ? `, reuses run ${header.reused_from}` : "";
    text(this.name, header.workflow);
    text(this.run, `run ${header.number}, ${timeOfDay(header.started_at)}${reuses}`);
    text(this.status, statusName(header.status));
    this.status.dataset.status = header.status;
    const asks = this.store.asks.length;
    text(this.asks, asks === 1 ? "1 waits for you" : `${asks} wait for you`);
    show(this.asks, asks > 0);
    text(this.split, split(header, this.remote()));
    show(this.rerun, this.store.rows.length > 0 && (!this.store.running || this.state.selected !== null));
    show(this.cancel, this.store.running);
    this.ends.title = header.finish_from ? `as known from ${header.finish_from}` : "";
    text(this.note, header.note);
    show(this.note, header.note !== "");
    this.comparing.draw();
    this.tick();
  }

  tick(): void {
    const now = this.store.now();
    text(this.elapsed, duration(now * 1000));
    const { header } = this.store;
    const ends = header ? ending(header, now) : "";
    text(this.ends, ends);
    show(this.ends, ends !== "");
  }

  /** What is not local, by its name where there is one only; empty where all is local. */
  private remote(): string {
    const names = new Set<string>();
    for (const row of this.store.rows) {
      if (row.remote && row.where !== "processes") names.add(row.where); // whose work counts as local
      if (names.size > 1) return "remote";
    }
    return [...names][0] ?? "";
  }
}
