/** What a step asks a person: the question, what it is about, and the two answers. */

import { button, html, longText, show, text } from "./dom";
import { left } from "./format";
import type { Row } from "./model";

export interface AskActs {
  approve(row: Row): void;
  reject(row: Row, reason: string): void;
}

export class AskBox {
  readonly root = html("div", "cb-ask");
  private readonly question = html("div", "cb-question");
  private readonly data = longText("cb-asked");
  private readonly time = html("div", "cb-mut cb-num");
  private readonly reason = html("input", "cb-reason");
  private readonly approve: HTMLButtonElement;
  private readonly reject: HTMLButtonElement;
  private row: Row | null = null;

  constructor(acts: AskActs) {
    this.approve = button("cb-button cb-approve", "Approve", () => this.row && acts.approve(this.row));
    this.reject = button("cb-button cb-reject", "Reject", () => {
      if (this.row) acts.reject(this.row, this.reason.value.trim());
    });
    this.reason.type = "text";
    this.reason.placeholder = "Why not (optional)";
    this.reason.setAttribute("aria-label", "Reason, if you reject it (optional)");
    this.root.setAttribute("role", "group");
    this.root.setAttribute("aria-label", "Waits for your answer");
    this.root.tabIndex = -1;
    const answers = html("div", "cb-go");
    const no = html("span", "cb-no");
    no.append(this.reason, this.reject);
    answers.append(this.approve, no);
    this.root.append(html("div", "cb-mut", "Waits for your answer"), this.question, this.data, this.time, answers);
  }

  /** `asked`: what the question is about, null until it is known; `busy`: an answer is on its way. */
  draw(row: Row, now: number, asked: string | null, busy: boolean): void {
    const waits = row.status === "approval";
    show(this.root, waits);
    if (this.row?.id !== row.id || this.row.attempt !== row.attempt) this.reason.value = "";
    this.row = row;
    if (!waits) return;
    text(this.question, row.doing || row.step);
    text(this.data, asked ?? "");
    show(this.data, Boolean(asked));
    const rest = row.until === null ? null : row.until - now;
    text(this.time, rest === null ? "" : rest > 0 ? `Gives up in ${left(rest)}` : "Time is up");
    show(this.time, rest !== null);
    for (const node of [this.approve, this.reject]) if (node.disabled !== busy) node.disabled = busy;
  }

  focus(): void {
    this.root.focus({ preventScroll: true });
  }
}
