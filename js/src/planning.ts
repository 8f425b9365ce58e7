/** From a choice to what runs: the plan is asked for, shown, and begun on a word. */

import type { Gantt } from "./gantt";
import type { Inquiry } from "./inquiry";
import type { Row, Scope, Store } from "./model";
import type { Picking } from "./picking";
import type { ViewState } from "./viewstate";

export interface PlanningHost {
  readonly gantt: Gantt;
  readonly picking: Picking;
  readonly inquiry: Inquiry;
  /** All rows that are picked, or the one that is selected. */
  selection(row: Row): Row[];
  select(row: Row): void;
}

export class Planning {
  /** The last plan that was begun. */
  request = 0;

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    private readonly host: PlanningHost,
  ) {}

  /** A choice in the panel: for all that is selected. */
  chooseHere(executor: string | null, scope: Scope): void {
    const row = this.selected;
    if (row) this.choose(this.host.selection(row), executor, scope);
  }

  choose(chosen: readonly Row[], executor: string | null, scope: Scope = "from"): void {
    const { host, store } = this;
    const rows = executor === null ? chosen : chosen.filter((r) => r.kind === "step");
    const [row] = rows;
    if (!row) return;
    if (rows.length === 1 && !host.picking.all.size) host.select(row);
    const fresh = rows.map((r) => store.row(r.id)?.status ?? r.status);
    // A step that has not started moves at once: nothing can be lost.
    const atOnce = executor !== null && rows.length === 1 && fresh.every((s) => s === "waiting" || s === "ready");
    const step = row.step;
    const more = {
      ...(rows.length > 1 ? { steps: rows.map((r) => r.step) } : {}),
      ...(scope === "from" ? {} : { scope }),
    };
    const request = store.command({ kind: atOnce ? "apply" : "preview", step, executor, ...more });
    const phase = atOnce ? "applying" : "asking";
    if (atOnce) this.request = request;
    host.inquiry.kept = null;
    this.state.set({ plan: { phase, request, step, executor, preview: null, ...more }, message: "" });
  }

  /** Bars that were dragged to an executor. */
  dropped(rows: readonly Row[], executor: string): void {
    const [row] = rows;
    const elsewhere = rows.filter((r) => r.kind === "step" && r.where !== executor);
    if (!row || !elsewhere.length) return;
    if (!this.host.picking.all.has(row.id)) this.host.select(row);
    this.choose(elsewhere, executor);
  }

  rerun(): void {
    const { rows } = this.store;
    const row = this.selected ?? rows.find((r) => r.status === "failed") ?? rows[0];
    if (row) this.choose([row], null);
  }

  apply(): void {
    const plan = this.state.plan;
    if (plan?.phase !== "shown") return;
    const { step, executor, steps, scope } = plan;
    const more = { ...(steps ? { steps } : {}), ...(scope ? { scope } : {}) };
    this.request = this.store.command({ kind: "apply", step, executor, ...more });
    this.back(); // before the button is disabled, which would drop the focus to nowhere
    this.state.set({ plan: { ...plan, phase: "applying", request: this.request }, message: "" });
  }

  drop(): void {
    this.state.set({ plan: null, message: "" });
    this.back();
  }

  keep(where: "cell" | "configuration", confirmed: boolean): void {
    const plan = this.state.plan;
    if (!plan?.executor) return;
    const { step, steps = [step], executor } = plan;
    this.host.inquiry.keep({ step, steps, executor, where, confirmed });
  }

  private get selected(): Row | undefined {
    const { selected } = this.state;
    return selected === null ? undefined : this.store.row(selected);
  }

  private back(): void {
    if (this.state.selected !== null) this.host.gantt.focus(this.state.selected);
  }
}
