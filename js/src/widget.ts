/** One view of a run: puts the parts together, and turns what a person does into commands. */

import { Asking } from "./asking";
import { Carrying } from "./carrying";
import { DetailsPanel } from "./details";
import { focused, html, show, text } from "./dom";
import { duration } from "./format";
import { Gantt } from "./gantt";
import { HeaderBar, Legend } from "./header";
import { Holding } from "./holding";
import { Inquiry } from "./inquiry";
import { type Choice, choices, Menu } from "./menu";
import type { Answer, Change, Command, Row, Store } from "./model";
import { Picking } from "./picking";
import { Planning } from "./planning";
import { keepKeys } from "./quiet";
import { Saving } from "./saving";
import { Tip } from "./tip";
import { ViewState } from "./viewstate";

export const SILENT = "The kernel does not answer: run the cell again.";

export class Widget {
  readonly root = html("div", "cb");
  private readonly state = new ViewState();
  private readonly empty = html("div", "cb-empty", "No run yet.");
  private readonly body = html("div", "cb-body");
  private readonly live = html("div", "cb-live");
  private readonly notice = html("div", "cb-notice");
  private readonly hideStatic = html("style");
  private readonly header: HeaderBar;
  private readonly legend: Legend;
  private readonly gantt: Gantt;
  private readonly panel: DetailsPanel;
  private readonly menu: Menu;
  private readonly picking: Picking;
  private readonly inquiry: Inquiry;
  private readonly saving: Saving;
  private readonly asking: Asking;
  private readonly planning: Planning;
  private readonly tip = new Tip();
  private readonly closers: (() => void)[] = [];
  private cancelRequest = 0;
  private status = "";

  constructor(private readonly store: Store) {
    const acts = {
      rerun: () => this.planning.rerun(),
      answer: () => this.answer(),
      cancel: () => this.cancel(),
      zoom: (factor: number) => this.gantt.zoom(factor),
      fit: () => this.state.set({ zoom: null }),
      say: (what: string) => this.say(what),
    };
    this.live.setAttribute("aria-live", "polite");
    this.live.setAttribute("role", "status");
    this.header = new HeaderBar(store, this.state, acts);
    this.legend = new Legend(store, this.state, acts);
    const open = (row: Row): void => (row.status === "approval" ? this.openAsk(row) : this.openMenu(row));
    this.gantt = new Gantt(store, this.state, open, () => this.close());
    this.asking = new Asking(store);
    this.inquiry = new Inquiry(store, () => this.drawPanel());
    this.panel = new DetailsPanel({
      choose: (executor, scope) => this.planning.chooseHere(executor, scope),
      tab: (tab) => this.inquiry.openTab(tab),
      preview: (of) => this.inquiry.togglePreview(of),
      keep: (where, confirmed) => this.planning.keep(where, confirmed),
      replay: () => this.inquiry.replay(),
      shutReplay: () => this.inquiry.shutReplay(),
      apply: () => this.planning.apply(),
      drop: () => this.planning.drop(),
      approve: (row) => this.decide(row, { kind: "approve", step: row.step, value: null }),
      reject: (row, reason) => this.decide(row, { kind: "reject", step: row.step, reason }),
      close: () => this.close(),
    });
    this.menu = new Menu(this.root);
    const holding = new Holding(this.gantt.root, (id) => {
      const row = store.row(id);
      this.gantt.focus(id);
      if (row) open(row);
    });
    this.closers.push(() => holding.end());
    this.picking = new Picking(this.root, this.gantt.root, {
      order: () => this.gantt.order(),
      selected: () => this.state.selected,
      picked: (ids, last) => this.pick(ids, last),
    });
    const { gantt, picking, inquiry } = this;
    this.planning = new Planning(store, this.state, {
      ...{ gantt, picking, inquiry },
      selection: (row) => this.selection(row),
      select: (row) => this.select(row),
    });
    const carrying = new Carrying(this.gantt.root, {
      row: (id) => store.row(id),
      carried: (row) => (this.picking.all.has(row.id) ? this.selection(row) : [row]),
      zoomed: () => this.state.zoom !== null,
      executors: () => (this.still ? [] : (store.snapshot?.executors ?? [])),
      dropped: (rows, executor) => this.planning.dropped(rows, executor),
    });
    this.saving = new Saving(store, this.menu, (told) => {
      this.state.set({ message: told });
      this.say(told);
    });
    this.header.root.querySelector(".cb-end")?.append(this.saving.root);
    this.body.append(this.gantt.root, this.panel.root);
    this.root.append(this.hideStatic, this.picking.style, this.header.root, this.legend.root, this.notice, this.body);
    this.root.append(this.tip.root);
    this.root.append(this.empty, this.menu.root, carrying.root, this.live);
    this.state.subscribe(() => this.draw());
    this.closers.push(store.subscribe((change) => this.onChange(change)));
    this.adopt();
    this.watch();
  }

  close(): void {
    const id = this.state.selected;
    this.menu.shut();
    this.picking.clear();
    this.state.set({ selected: null, plan: null, message: "" });
    if (id !== null) this.gantt.focus(id);
  }

  dispose(): void {
    this.menu.shut();
    this.inquiry.close();
    this.gantt.close();
    this.header.comparing.close();
    for (const close of this.closers) close();
  }

  private watch(): void {
    this.closers.push(keepKeys(this.root));
    if (typeof ResizeObserver === "function") {
      const sizes = new ResizeObserver(() => this.gantt.schedule());
      sizes.observe(this.gantt.root);
      this.closers.push(() => sizes.disconnect());
    }
    if (typeof IntersectionObserver === "function") {
      const sight = new IntersectionObserver((all) => this.gantt.setInSight(all.at(-1)?.isIntersecting ?? true));
      sight.observe(this.root);
      this.closers.push(() => sight.disconnect());
    }
    // The clock beside the chart needs no more than this.
    const clock = setInterval(() => {
      if (!this.store.moving || document.hidden) return;
      this.header.tick();
      this.drawPanel();
    }, 100);
    this.closers.push(() => clearInterval(clock));
  }

  private onChange(change: Change): void {
    if (change.kind === "all") {
      this.adopt(change.newRun);
    } else if (change.kind === "rows") {
      const rows = change.ids.map((id) => this.store.row(id)).filter((row): row is Row => row !== undefined);
      this.legend.see(rows);
      this.gantt.see(rows);
      this.gantt.schedule();
      this.draw();
    } else if (change.kind === "answer") {
      this.onAnswer(change.answer);
    } else {
      this.onSilence(change.request);
    }
  }

  private adopt(newRun = true): void {
    const { state, store } = this;
    if (newRun) {
      // The same step stays selected in the next run of the same plan.
      const kept = state.selected !== null ? store.row(state.selected) : undefined;
      const same = kept !== undefined && kept.step === this.panel.root.dataset.step;
      Object.assign(state, { plan: null, selected: same ? state.selected : null });
      state.recall(store.header?.run ?? "");
      this.inquiry.forget();
      this.picking.clear();
      this.asking.forget();
    }
    const id = store.snapshot?.widget_id ?? "";
    text(this.hideStatic, /^[\w-]+$/.test(id) ? `.cb-static-${id}{display:none !important}` : "");
    this.legend.adopt();
    this.gantt.adopt(newRun);
    this.draw();
  }

  private draw(): void {
    const { store, root } = this;
    const header = store.header;
    for (const part of [this.header.root, this.legend.root, this.body]) show(part, header !== null);
    show(this.empty, header === null);
    if (header) {
      root.dataset.run = header.run;
      root.dataset.runStatus = header.status;
      root.toggleAttribute("data-still", this.still);
      if (this.status === "running" && header.status !== "running") {
        this.say(`${header.workflow} ${header.status} after ${duration(header.now * 1000)}`);
      }
      this.status = header.status;
      this.say(this.asking.news());
    }
    this.header.draw();
    this.legend.draw();
    this.drawPanel();
  }

  private drawPanel(): void {
    const { state, store } = this;
    const row = state.selected === null ? undefined : store.row(state.selected);
    show(this.panel.root, row !== undefined);
    if (row) this.tip.done();
    this.tip.draw(store.rows.length > 0, this.still);
    show(this.notice, row === undefined && state.message !== "");
    text(this.notice, state.message);
    if (!row) return;
    const { inquiry } = this;
    const rows = this.selection(row);
    if (!this.still) inquiry.ask(row, rows);
    this.panel.draw({
      row,
      rows,
      run: store.header?.number ?? 0,
      live: store.running,
      critical: store.header?.critical.includes(row.id) ?? false,
      slack: store.header?.slack[row.id] ?? null,
      against: state.compared && [state.compared.answer.name, state.compared.gained(row)],
      still: this.still,
      now: store.now(),
      executors: store.snapshot?.executors ?? [],
      refused: inquiry.refused,
      plan: state.plan,
      kept: inquiry.kept,
      replayLine: inquiry.replayLine,
      message: state.message,
      details: inquiry.details,
      tab: inquiry.tab,
      looks: inquiry.looks,
      shown: inquiry.shown,
      answering: this.asking.isAnswering(row),
    });
  }

  private get still(): boolean {
    return this.store.snapshot?.still === true;
  }

  /** All rows that are picked, or the one that is selected. */
  private selection(row: Row): Row[] {
    const ids = this.picking.all;
    return ids.size ? this.store.rows.filter((r) => ids.has(r.id)) : [row];
  }

  private openMenu(row: Row): void {
    this.select(row);
    this.drawPanel();
    if (this.still) return;
    const list = choices(row, this.store.snapshot?.executors ?? [], this.inquiry.refused);
    const back = (): void => this.gantt.focus(row.id);
    const at = (): DOMRect => this.gantt.anchor(row.id);
    const chosen = ({ executor = null }: Choice): void => this.planning.choose([row], executor);
    this.menu.show(row.step, list, at, chosen, back);
  }

  /** Rows picked with Ctrl or Shift: one panel for all of them, without the menu. */
  private pick(ids: ReadonlySet<number>, last: number): void {
    const row = this.store.row(last);
    if (!row) return;
    this.menu.shut();
    this.state.set({ selected: ids.size ? last : null, active: last, plan: null, message: "" });
    this.gantt.focus(last);
    this.say(ids.size > 1 ? `${ids.size} steps selected` : ids.size ? `${row.step} selected` : "Nothing selected");
  }

  /** Who is asked sees the question at once; a menu would lie over it. */
  private openAsk(row: Row): void {
    this.select(row);
    this.drawPanel();
    this.panel.focusAsk();
  }

  /** The next step that waits for an answer, after the one that is open. */
  private answer(): void {
    const row = this.asking.after(this.state.selected);
    if (!row) return;
    this.gantt.unfold(row.id);
    this.openAsk(row);
  }

  private decide(row: Row, command: Command): void {
    if (!this.asking.decide(row, command)) return;
    // Before the buttons are disabled, which would drop the focus to nowhere.
    this.gantt.focus(row.id);
    this.state.set({ message: "" });
  }

  private select(row: Row): void {
    this.picking.clear();
    if (this.state.selected === row.id) return;
    this.state.set({ selected: row.id, active: row.id, plan: null, message: "" });
  }

  private cancel(): void {
    this.cancelRequest = this.store.command({ kind: "cancel" });
  }

  private onAnswer(answer: Answer): void {
    const { state } = this;
    const plan = state.plan;
    if (this.inquiry.hear(answer)) {
      if (answer.kind === "choices") this.menu.refuse(answer.refused);
      this.drawPanel();
      if (answer.kind === "replay") this.showReplay(answer.text);
    } else if (answer.kind === "file") {
      void this.saving.hear(answer);
    } else if (answer.kind === "preview") {
      if (plan?.request !== answer.request) return;
      state.set({ plan: { ...plan, phase: "shown", preview: answer } });
      this.say(answer.ok ? `Runs ${answer.runs.length}, reuses ${answer.reuses.length}.` : answer.text);
      if (this.root.contains(focused(this.root))) this.panel.focusPlan();
    } else if (answer.kind === "ack") {
      // The new run may have been shown before the word about it comes: then there is no plan any more.
      const planned = plan?.request === answer.request;
      const refused = this.inquiry.asked(answer.request) && !answer.ok;
      if (!planned && !refused && ![this.planning.request, ...this.ours].includes(answer.request)) return;
      this.asking.heard(answer.request);
      state.set({ plan: planned ? null : plan, message: answer.text });
      this.say(answer.text);
    }
  }

  private showReplay(told: string): void {
    this.state.set({ message: "" });
    this.say(told);
    if (this.root.contains(focused(this.root))) this.panel.focusReplay();
  }

  private onSilence(request: number): void {
    const { state } = this;
    if (![state.plan?.request, ...this.ours].includes(request) && !this.inquiry.asked(request)) return;
    this.asking.heard(request);
    const plan = request === state.plan?.request ? null : state.plan;
    state.set({ plan, message: SILENT });
    this.say(SILENT);
  }

  private get ours(): number[] {
    return [this.cancelRequest, this.asking.request, this.saving.request, this.header.comparing.awaited];
  }

  private say(what: string): void {
    if (what) text(this.live, what);
  }
}
