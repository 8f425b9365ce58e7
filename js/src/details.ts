/** The panel of one step: where it ran and why, what a move would mean, what it printed. */

import { type AskActs, AskBox } from "./askbox";
import { button, html, show, text } from "./dom";
import { names, statusName, times, workerName } from "./format";
import type { Details, Executor, Row } from "./model";
import type { Plan } from "./viewstate";

export interface PanelActs extends AskActs {
  choose(row: Row, executor: string | null): void;
  apply(): void;
  drop(): void;
  close(): void;
}

export interface PanelView {
  row: Row;
  now: number;
  executors: readonly Executor[];
  plan: Plan | null;
  message: string;
  details: Details | null;
  answering: boolean;
}

export class DetailsPanel {
  readonly root = html("section", "cb-panel");
  private readonly title = html("b");
  private readonly status = html("span", "cb-pill");
  private readonly ask: AskBox;
  private readonly facts = html("dl");
  private readonly caption = html("div", "cb-mut cb-caption", "Move to");
  private readonly moves = html("div", "cb-moves");
  private readonly rerun: HTMLButtonElement;
  private readonly plan = html("div", "cb-plan");
  private readonly runs = html("div");
  private readonly reuses = html("div", "cb-mut");
  private readonly lost = html("div", "cb-lost");
  private readonly code = html("code", "cb-code");
  private readonly apply: HTMLButtonElement;
  private readonly drop: HTMLButtonElement;
  private readonly message = html("div", "cb-message");
  private readonly output = html("pre", "cb-output");
  private readonly error = html("pre", "cb-error");
  private readonly headings: [HTMLElement, HTMLElement] = [html("h4", "", "Output"), html("h4", "", "Error")];
  private readonly values = new Map<string, [HTMLElement, HTMLElement]>();
  private row: Row | null = null;
  private moveKeys = "";
  private shownDetails: Details | null = null;

  constructor(private readonly acts: PanelActs) {
    this.root.setAttribute("aria-label", "Step");
    this.ask = new AskBox(acts);
    this.rerun = button("cb-button cb-from-here", "Re-run from here", () => this.row && acts.choose(this.row, null));
    this.apply = button("cb-button cb-apply", "Run it so", () => acts.apply());
    this.drop = button("cb-button cb-drop", "Not now", () => acts.drop());
    const close = button("cb-close", "×", () => acts.close());
    close.setAttribute("aria-label", "Close the panel");
    const top = html("div", "cb-panel-top");
    top.append(this.title, this.status, html("span", "cb-grow"), close);
    const go = html("div", "cb-go");
    go.append(this.apply, this.drop);
    this.plan.append(this.runs, this.reuses, this.lost, this.code, go);
    const [output, error] = this.headings;
    this.root.append(top, this.ask.root, this.facts, this.caption, this.moves, this.plan, this.message);
    this.root.append(error, this.error, output, this.output);
    this.root.addEventListener("keydown", (e) => {
      if (e.key !== "Escape") return;
      e.stopPropagation();
      if (this.plan.hidden) acts.close();
      else acts.drop();
    });
  }

  draw(view: PanelView): void {
    const { row } = view;
    this.row = row;
    this.root.dataset.step = row.step;
    text(this.title, row.step);
    text(this.status, statusName(row.status));
    this.status.dataset.status = row.status;
    this.ask.draw(row, view.now, view.details?.asked ?? null, view.answering);
    const begun = row.segments.length > 0;
    const worker = workerName(row.worker);
    const decision = row.kind === "decision";
    this.fact(ranOn(row.status), decision ? [] : [row.where, worker]);
    this.fact("Why here", [decision ? "" : row.reason]);
    this.fact("Attempt", [row.attempt ? String(row.attempt) : ""]);
    this.fact("Time", [begun || row.ms !== null ? times(row, view.now) : ""]);
    this.fact("Does", [row.status === "running" || row.status === "sleeping" ? row.doing : ""]);
    this.fact(decision ? "Way" : "Note", [row.note]);
    // A decision is made where the notebook is: there is nothing to move.
    show(this.caption, !decision);
    this.drawMoves(row, view.executors, view.plan);
    this.drawPlan(view.plan);
    show(this.message, view.message !== "");
    text(this.message, view.message);
    this.drawDetails(view.details);
  }

  focusAsk(): void {
    this.ask.focus();
  }

  focusPlan(): void {
    if (!this.apply.hidden && !this.apply.disabled) this.apply.focus();
  }

  private fact(name: string, parts: readonly string[]): void {
    const slot = name.endsWith(" on") ? "Ran on" : name === "Way" ? "Note" : name;
    let pair = this.values.get(slot);
    if (!pair) {
      pair = [html("dt"), html("dd", "cb-num")];
      this.values.set(slot, pair);
      this.facts.append(...pair);
    }
    const value = parts.filter(Boolean).join(", ");
    text(pair[0], name);
    text(pair[1], value);
    for (const node of pair) show(node, value !== "");
  }

  private drawMoves(row: Row, executors: readonly Executor[], plan: Plan | null): void {
    const keys = JSON.stringify(executors);
    if (keys !== this.moveKeys) {
      this.moveKeys = keys;
      const buttons = executors.map((e) => {
        const node = button("cb-button cb-move", e.label, () => {
          if (this.row && node.getAttribute("aria-disabled") !== "true") this.acts.choose(this.row, e.name);
        });
        node.dataset.executor = e.name;
        return node;
      });
      this.moves.replaceChildren(...buttons, this.rerun);
    }
    for (const node of this.moves.querySelectorAll<HTMLElement>(".cb-move")) {
      const here = node.dataset.executor === row.where || node.textContent === row.where;
      node.setAttribute("aria-disabled", String(here));
      node.setAttribute("aria-current", String(here));
      node.title = here ? "It is here now" : "";
      show(node, row.kind !== "decision");
      node.classList.toggle("cb-wanted", typeof plan?.executor === "string" && plan.executor === node.dataset.executor);
    }
    this.rerun.disabled = row.status === "waiting" || row.status === "ready";
  }

  private drawPlan(plan: Plan | null): void {
    show(this.plan, plan !== null);
    if (!plan) return;
    const preview = plan.preview;
    const ok = preview?.ok ?? false;
    if (!preview) {
      const place = plan.executor === null ? "again" : `on ${plan.executor}`;
      text(this.runs, plan.phase === "applying" ? `Running it ${place}…` : `What would run ${place}…`);
    } else if (!ok) text(this.runs, preview.text || "This cannot be done.");
    else text(this.runs, `Runs ${preview.runs.length}: ${names(preview.runs)}.`);
    text(this.reuses, ok && preview ? `Reuses ${preview.reuses.length}. ${preview.text}`.trim() : "");
    text(this.lost, ok && preview ? preview.lost : "");
    text(this.code, ok && preview ? preview.code : "");
    this.reuses.title = preview ? names(preview.reuses, 40) : "";
    for (const node of [this.reuses, this.lost, this.code]) show(node, node.textContent !== "");
    show(this.apply, ok);
    this.apply.disabled = plan.phase === "applying";
    text(this.drop, preview && !ok ? "Close" : "Not now");
    show(this.drop, plan.phase !== "applying");
  }

  private drawDetails(details: Details | null): void {
    const [outputHeading, errorHeading] = this.headings;
    const printed = (details?.output.length ?? 0) > 0;
    const failed = Boolean(details?.error || details?.traceback);
    for (const node of [outputHeading, this.output]) show(node, printed);
    for (const node of [errorHeading, this.error]) show(node, failed);
    if (details === this.shownDetails) return;
    this.shownDetails = details;
    this.output.replaceChildren(
      ...(details?.output ?? []).map(([stream, content]) =>
        html("span", stream === "stderr" ? "cb-stderr" : "", content),
      ),
    );
    const title = details ? [details.error_type, details.error].filter(Boolean).join(": ") : "";
    const trace = details?.traceback.trimEnd() ?? "";
    text(this.error, trace.endsWith(title) && trace ? trace : [title, trace].filter(Boolean).join("\n\n"));
  }
}

function ranOn(status: string): string {
  if (status === "waiting" || status === "ready") return "Will run on";
  return ["submitted", "running", "sleeping", "approval"].includes(status) ? "Runs on" : "Ran on";
}
