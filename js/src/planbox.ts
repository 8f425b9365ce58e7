/** What a move or a re-run would do, and the word for it. */

import { CodeLine } from "./copy";
import { button, html, show, text } from "./dom";
import { duration, names } from "./format";
import type { Preview } from "./model";
import type { Plan } from "./viewstate";

const MOST_WHY = 12;

export interface PlanActs {
  apply(): void;
  drop(): void;
  keep(): void;
}

/** "about 1.2 s of work": what is known of earlier runs, and how much of it is not. */
export function foreseen(preview: Preview): string {
  if (preview.seconds === null || preview.seconds === undefined) return "";
  const untimed = preview.untimed ?? 0;
  const rest = untimed ? `, and ${untimed} ${untimed === 1 ? "step" : "steps"} nobody has timed` : "";
  return `About ${duration(preview.seconds * 1000)} of work when it last ran${rest}.`;
}

export class PlanBox {
  readonly root = html("div", "cb-plan");
  private readonly runs = html("div", "cb-plan-runs");
  private readonly time = html("div", "cb-mut cb-num");
  private readonly reuses = html("div", "cb-mut");
  private readonly lost = html("div", "cb-lost");
  private readonly why = html("details", "cb-why");
  private readonly reasons = html("ul");
  private readonly code = new CodeLine();
  private readonly apply: HTMLButtonElement;
  private readonly drop: HTMLButtonElement;
  private readonly keep: HTMLButtonElement;
  private explained: Preview | null = null;

  constructor(acts: PlanActs) {
    this.apply = button("cb-button cb-apply", "Run it so", () => acts.apply());
    this.drop = button("cb-button cb-drop", "Not now", () => acts.drop());
    this.keep = button("cb-button cb-keep", "Keep…", () => acts.keep());
    this.keep.title = "Write this choice where it stays: in the cell or in the configuration";
    const go = html("div", "cb-go");
    go.append(this.apply, this.drop, this.keep);
    this.why.append(html("summary", "", "Why these"), this.reasons);
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "What would run");
    this.root.append(this.runs, this.time, this.reuses, this.lost, this.why, this.code.root, go);
  }

  get open(): boolean {
    return !this.root.hidden;
  }

  draw(plan: Plan | null): void {
    show(this.root, plan !== null);
    if (!plan) return;
    const preview = plan.preview;
    const ok = preview?.ok ?? false;
    if (!preview) {
      const place = plan.executor === null ? "again" : `on ${plan.executor}`;
      text(this.runs, plan.phase === "applying" ? `Running it ${place}…` : `What would run ${place}…`);
    } else if (!ok) text(this.runs, preview.text || "This cannot be done.");
    else text(this.runs, `Runs ${preview.runs.length}: ${names(preview.runs)}.`);
    text(this.time, ok && preview ? foreseen(preview) : "");
    text(this.reuses, ok && preview ? `Reuses ${preview.reuses.length || "nothing"}. ${preview.text}`.trim() : "");
    text(this.lost, ok && preview ? preview.lost : "");
    this.code.draw(ok && preview ? preview.code : "");
    this.reuses.title = preview ? names(preview.reuses, 40) : "";
    for (const node of [this.time, this.reuses, this.lost]) show(node, node.textContent !== "");
    this.explain(ok ? preview : null);
    show(this.apply, ok);
    this.apply.disabled = plan.phase === "applying";
    text(this.drop, preview && !ok ? "Close" : "Not now");
    show(this.drop, plan.phase !== "applying");
    show(this.keep, ok && plan.executor !== null && plan.phase !== "applying");
  }

  focus(): void {
    if (!this.apply.hidden && !this.apply.disabled) this.apply.focus();
  }

  private explain(preview: Preview | null): void {
    const reasons = Object.entries(preview?.why ?? {});
    show(this.why, reasons.length > 0);
    if (preview === this.explained) return;
    this.explained = preview;
    const more = reasons.length - MOST_WHY;
    this.reasons.replaceChildren(
      ...reasons.slice(0, MOST_WHY).map(([step, reason]) => {
        const line = html("li");
        line.append(html("span", "", step), html("span", "cb-mut", ` ${reason}`));
        return line;
      }),
      ...(more > 0 ? [html("li", "cb-mut", `and ${more} more`)] : []),
    );
  }
}
