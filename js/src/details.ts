/** The panel of one step, or of several: where it ran and why, what a move would mean, what there is to see of it. */

import { type AskActs, AskBox } from "./askbox";
import { Attempts } from "./attempts";
import { button, html, show, text } from "./dom";
import { Failure } from "./failure";
import { duration, names, statusName, times, workerName } from "./format";
import { KeepBox } from "./keepbox";
import type { Details, Executor, Keep, Look, ReplayLine, Row, Scope } from "./model";
import { PlanBox } from "./planbox";
import { ReplayBox, replays } from "./replaybox";
import type { Bundle } from "./shown";
import { type Tab, Tabs } from "./tabs";
import type { Plan } from "./viewstate";

export interface PanelActs extends AskActs {
  choose(executor: string | null, scope: Scope): void;
  apply(): void;
  drop(): void;
  close(): void;
  tab(tab: Tab): void;
  preview(of: string): void;
  keep(where: "cell" | "configuration", confirmed: boolean): void;
  replay(): void;
  shutReplay(): void;
}

export interface PanelView {
  row: Row;
  /** All selected rows, `row` among them. */
  rows: readonly Row[];
  run: number;
  /** The run goes on: steps move in it. */
  live: boolean;
  /** The step is on the critical path, or could have ended so many seconds later. */
  critical: boolean;
  slack: number | null;
  /** Nothing runs behind the page: it can only be looked at. */
  still: boolean;
  now: number;
  /** The run that this one is compared with, and what this step gained or lost. */
  against: readonly [name: string, told: string] | null;
  executors: readonly Executor[];
  /** Executors that would be refused, with the reason. */
  refused: Readonly<Record<string, string>>;
  plan: Plan | null;
  kept: Keep | null;
  replayLine: ReplayLine | null;
  message: string;
  details: Details | null;
  tab: Tab;
  looks: ReadonlyMap<string, Look>;
  shown: ReadonlyMap<string, Bundle>;
  answering: boolean;
}

export class DetailsPanel {
  readonly root = html("section", "cb-panel");
  private readonly title = html("b");
  private readonly status = html("span", "cb-pill");
  private readonly ask: AskBox;
  private readonly facts = html("dl");
  private readonly attempts = new Attempts();
  private readonly acts = html("div", "cb-panel-acts");
  private readonly caption = html("div", "cb-mut cb-caption", "Move to");
  private readonly moves = html("div", "cb-moves");
  private readonly why = html("div", "cb-mut cb-refused");
  private readonly again = html("div", "cb-moves cb-again");
  private readonly reruns: ReadonlyMap<Scope, HTMLButtonElement>;
  private readonly replaying = html("div", "cb-replaying");
  private readonly replay: HTMLButtonElement;
  private readonly replayBox: ReplayBox;
  private readonly plan: PlanBox;
  private readonly keepBox: KeepBox;
  private readonly message = html("div", "cb-message");
  private readonly failure = new Failure();
  private readonly tabs: Tabs;
  private readonly values = new Map<string, [HTMLElement, HTMLElement]>();
  private row: Row | null = null;
  private moveKeys = "";
  private keeping = false;

  constructor(private readonly does: PanelActs) {
    this.root.setAttribute("aria-label", "Step");
    this.ask = new AskBox(does);
    this.plan = new PlanBox({ apply: () => does.apply(), drop: () => does.drop(), keep: () => this.openKeep() });
    this.keepBox = new KeepBox({ keep: (where, sure) => does.keep(where, sure), shut: () => this.shutKeep() });
    this.tabs = new Tabs({ open: (tab) => does.tab(tab), preview: (of) => does.preview(of) });
    const scopes: [Scope, string, string][] = [
      ["this", "This step", "Run this step again, and nothing that depends on it"],
      ["from", "From here", "Run this step again, and all that depends on it"],
      ["all", "Everything", "Run every step again"],
    ];
    this.reruns = new Map(
      scopes.map(([scope, label, hint]) => {
        const node = button(`cb-button cb-again-${scope}`, label, () => does.choose(null, scope));
        node.title = hint;
        return [scope, node];
      }),
    );
    this.again.append(...this.reruns.values());
    this.again.setAttribute("role", "group");
    this.again.setAttribute("aria-label", "Run again");
    this.moves.setAttribute("role", "group");
    this.moves.setAttribute("aria-label", "Move to");
    this.replay = button("cb-button cb-replay", "Replay here", () => does.replay());
    this.replay.title = "Run this attempt again in the notebook, for the debugger; the run stays as it is";
    const find = html("div", "cb-moves");
    find.append(this.replay);
    this.replaying.append(html("div", "cb-mut cb-caption", "Find out why"), find);
    this.replayBox = new ReplayBox(() => this.shutReplay());
    const close = button("cb-close", "×", () => does.close());
    close.setAttribute("aria-label", "Close the panel");
    const top = html("div", "cb-panel-top");
    top.append(this.title, this.status, html("span", "cb-grow"), close);
    this.acts.append(this.caption, this.moves, this.why, html("div", "cb-mut cb-caption", "Run again"), this.again);
    this.acts.append(this.replaying, this.replayBox.root);
    this.root.append(top, this.ask.root, this.facts, this.attempts.root, this.failure.root, this.acts);
    this.root.append(this.plan.root, this.keepBox.root, this.message, this.tabs.root);
    this.root.addEventListener("keydown", (e) => this.onKey(e));
  }

  draw(view: PanelView): void {
    const { row, rows } = view;
    const many = rows.length > 1;
    if (this.row?.id !== row.id || !view.plan) this.keeping = false;
    this.row = row;
    this.root.dataset.step = row.step;
    this.root.classList.toggle("cb-many", many);
    text(this.title, many ? `${rows.length} steps` : row.step);
    text(this.status, statusName(row.status));
    this.status.dataset.status = row.status;
    show(this.status, !many);
    if (many) {
      this.ask.root.hidden = true;
      this.attempts.root.hidden = true;
      this.failure.root.hidden = true;
    } else {
      this.ask.draw(row, view.now, view.details?.asked ?? null, view.answering);
      this.attempts.draw(row, view.now);
      this.failure.draw(view.details);
      this.tabs.draw(view);
    }
    this.drawFacts(view, many ? rows : []);
    show(this.tabs.root, !many && !view.still);
    // A decision is made where the notebook is: there is nothing to move.
    const movable = rows.filter((r) => r.kind === "step");
    // What undoes is called by the run alone.
    show(this.acts, !view.still && row.kind !== "undo");
    show(this.caption, movable.length > 0);
    text(this.caption, many ? `Move ${movable.length} steps to` : "Move to");
    this.drawMoves(view, movable);
    const replayable = !many && replays(row);
    show(this.replaying, replayable);
    this.replayBox.draw(replayable ? view.replayLine : null);
    this.plan.draw(view.plan);
    if (this.keepBox.draw(this.keeping, view.kept)) this.keepBox.root.scrollIntoView?.({ block: "nearest" });
    show(this.message, view.message !== "");
    text(this.message, view.message);
  }

  focusAsk(): void {
    this.ask.focus();
  }

  focusPlan(): void {
    this.plan.focus();
  }

  focusReplay(): void {
    if (this.replayBox.open) this.replayBox.focus();
  }

  private shutReplay(): void {
    this.does.shutReplay();
    this.replay.focus();
  }

  private openKeep(): void {
    this.keeping = true;
    this.keepBox.draw(true, null);
    this.keepBox.focus();
    this.keepBox.root.scrollIntoView?.({ block: "nearest" });
  }

  private shutKeep(): void {
    this.keeping = false;
    this.keepBox.root.hidden = true;
    this.plan.focus();
  }

  private onKey(event: KeyboardEvent): void {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    if (this.keeping) this.shutKeep();
    else if (this.plan.open) this.does.drop();
    else if (this.replayBox.open) this.shutReplay();
    else this.does.close();
  }

  private drawFacts({ row, now, critical, slack, against }: PanelView, many: readonly Row[]): void {
    const decision = row.kind === "decision";
    const one = many.length === 0;
    const begun = row.segments.length > 0;
    const doing = row.status === "running" || row.status === "sleeping";
    this.fact("Ran on", one && !decision ? [row.where, workerName(row.worker)] : [], ranOn(row.status));
    this.fact("Why here", [one && !decision ? row.reason : ""]);
    this.fact("Attempt", [one && row.attempt > 1 && row.segments.length < 2 ? String(row.attempt) : ""]);
    this.fact("Time", [one && (begun || row.ms !== null) ? times(row, now) : ""]);
    const over = row.status === "failed" || row.status === "cancelled";
    this.fact("Holds up", [one && row.kind === "step" && begun && !over ? heldUp(critical, slack) : ""]);
    this.fact("Against", [one ? (against?.[1] ?? "") : ""], `vs ${against?.[0] ?? ""}`);
    this.fact("Cache", [one ? row.cache : ""]);
    this.fact("Does", [one && doing ? row.doing : ""]);
    this.fact("Note", [one ? row.note : ""], decision ? "Way" : "Note");
    this.fact("Steps", [one ? "" : names(many.map((r) => r.step))]);
  }

  private fact(slot: string, parts: readonly string[], name = slot): void {
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

  private drawMoves(view: PanelView, movable: readonly Row[]): void {
    const keys = JSON.stringify(view.executors);
    if (keys !== this.moveKeys) {
      this.moveKeys = keys;
      this.moves.replaceChildren(...view.executors.map((e) => this.moveButton(e)));
    }
    const reasons = new Map<string, string[]>(); // reason -> executors
    for (const node of this.moves.querySelectorAll<HTMLElement>(".cb-move")) {
      const name = node.dataset.executor ?? "";
      const here = movable.length > 0 && movable.every((r) => r.where === name || r.where === node.textContent);
      const refused = here ? "" : (view.refused[name] ?? "");
      if (refused) reasons.set(refused, [...(reasons.get(refused) ?? []), node.textContent ?? ""]);
      node.setAttribute("aria-disabled", String(here || refused !== ""));
      node.setAttribute("aria-current", String(here));
      node.classList.toggle("cb-no-way", refused !== "");
      node.title = here ? "It is here now" : refused;
      show(node, movable.length > 0);
      const wanted = view.plan?.executor;
      node.classList.toggle("cb-wanted", typeof wanted === "string" && wanted === name);
    }
    text(this.why, [...reasons].map(([reason, labels]) => `${labels.join(", ")}: ${reason}`).join("\n"));
    show(this.why, reasons.size > 0);
    const begun = view.rows.every((r) => r.status !== "waiting" && r.status !== "ready");
    for (const [scope, node] of this.reruns) {
      // Inside a live run all that depends on a step follows it.
      const alone = view.rows.length === 1 && view.row.kind === "step";
      show(node, scope === "from" || (!view.live && (scope === "all" || alone)));
      node.disabled = !begun;
    }
  }

  private moveButton(executor: Executor): HTMLButtonElement {
    const node = button("cb-button cb-move", executor.label, () => {
      if (node.getAttribute("aria-disabled") !== "true") this.does.choose(executor.name, "from");
    });
    node.dataset.executor = executor.name;
    return node;
  }
}

function ranOn(status: string): string {
  if (status === "waiting" || status === "ready") return "Will run on";
  return ["submitted", "running", "sleeping", "approval"].includes(status) ? "Runs on" : "Ran on";
}

/** Whether it is worth making a step faster, as far as this run says. */
function heldUp(critical: boolean, slack: number | null): string {
  if (critical) return "the run: the faster this step, the sooner the run ends";
  return slack !== null && slack >= 0.001 ? `nothing: it may take ${duration(slack * 1000)} longer` : "";
}
