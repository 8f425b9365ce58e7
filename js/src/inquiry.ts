/** What is asked about the selected step, piece by piece, and what is known of it so far. None of it is ever stored. */

import type { Answer, Command, Details, Keep, Look, ReplayLine, Row, Store } from "./model";
import { type Bundle, shownIn } from "./shown";
import type { Tab } from "./tabs";

const DETAILS_EVERY_MS = 500;
/** Steps that are checked before one chooses; for more of them the plan says what is refused. */
const MOST_CHECKED = 200;
/** Displays that are fetched: the newest of a step's. */
const MOST_SHOWN = 40;
const NOTHING: Readonly<Record<string, string>> = {};

type KeepCommand = Extract<Command, { kind: "keep" }>;

export class Inquiry {
  details: Details | null = null;
  refused: Readonly<Record<string, string>> = NOTHING;
  kept: Keep | null = null;
  replayLine: ReplayLine | null = null;
  tab: Tab = "output";
  /** By tab; previews by "value:" and what they are of. */
  readonly looks = new Map<string, Look>();
  /** What the step displayed, by attempt and number. */
  readonly shown = new Map<string, Bundle>();
  private readonly open = new Map<number, string>(); // request -> what it is about
  private step = "";
  private seen = "";
  private seenPrints = "";
  private lookedAt = "";
  private choicesOf = "";
  private readonly fetched = new Set<string>();
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(
    private readonly store: Store,
    private readonly redraw: () => void,
  ) {}

  /** Another run, or another view of it: nothing that was known holds. */
  forget(): void {
    this.details = null;
    this.kept = null;
    this.replayLine = null;
    this.refused = NOTHING;
    this.looks.clear();
    this.shown.clear();
    this.fetched.clear();
    this.step = this.seen = this.seenPrints = this.lookedAt = this.choicesOf = "";
  }

  close(): void {
    clearTimeout(this.timer);
  }

  /** Ask what is not known yet of the row that is shown; `rows` are all that are selected. */
  ask(row: Row, rows: readonly Row[]): void {
    if (row.step !== this.step) {
      this.forget();
      this.step = row.step;
      clearTimeout(this.timer);
      this.timer = undefined;
    }
    const state = `${row.attempt} ${row.status}`;
    if (state !== this.seen) {
      this.seen = state;
      this.looks.clear();
      this.lookedAt = "";
    }
    this.askChoices(row, rows);
    if (rows.length > 1) return;
    this.askDetails(row);
    if (this.tab === "output") this.askShown();
    if (this.tab !== "output" && this.lookedAt !== this.tab) this.look(this.tab);
  }

  openTab(tab: Tab): void {
    this.tab = tab;
    this.lookedAt = "";
    this.redraw();
  }

  togglePreview(of: string): void {
    if (this.looks.delete(`value:${of}`)) this.redraw();
    else this.send(`value:${of}`, { kind: "look", step: this.step, tab: "value", of });
  }

  keep(command: Omit<KeepCommand, "kind">): void {
    this.send("keep", { kind: "keep", ...command });
  }

  replay(): void {
    this.send("replay", { kind: "replay", step: this.step });
  }

  shutReplay(): void {
    this.replayLine = null;
    this.redraw();
  }

  /** A person waits for it: what is asked along the way may go unanswered while the kernel is busy. */
  asked(request: number): boolean {
    return (this.open.get(request) ?? "choices") !== "choices";
  }

  /** Take an answer in; false if it is none of ours. */
  hear(answer: Answer): boolean {
    const about = this.open.get(answer.request);
    if (about === undefined || answer.kind === "ack") return false;
    this.open.delete(answer.request);
    if (answer.kind === "keep") this.kept = answer;
    else if ("step" in answer && answer.step !== this.step)
      return true; // somebody looks at another one by now
    else if (answer.kind === "details") this.details = answer;
    else if (answer.kind === "replay") this.replayLine = answer;
    else if (answer.kind === "choices") this.refused = answer.refused;
    else if (answer.kind === "look" && answer.tab === "shown") this.shown.set(answer.of ?? "", answer.bundle ?? {});
    else if (answer.kind === "look") this.looks.set(about, answer);
    return true;
  }

  private send(about: string, command: Command): void {
    this.open.set(this.store.command(command), about);
  }

  private look(tab: Tab): void {
    this.lookedAt = tab;
    this.send(tab, { kind: "look", step: this.step, tab });
  }

  /** Which executors would be refused: asked when a step is selected, and again when its state is another one. */
  private askChoices(row: Row, rows: readonly Row[]): void {
    const key = `${rows.map((r) => r.id).join(" ")} ${row.status} ${this.store.running}`;
    if (row.kind !== "step" || rows.length > MOST_CHECKED || key === this.choicesOf) return;
    this.choicesOf = key;
    const steps = rows.filter((r) => r.kind === "step").map((r) => r.step);
    this.send("choices", { kind: "choices", step: row.step, ...(steps.length > 1 ? { steps } : {}) });
  }

  /** What it displayed is fetched one by one, each once. */
  private askShown(): void {
    const all = (this.details?.output ?? []).map(([stream]) => shownIn(stream)).filter(Boolean);
    for (const of of all.slice(-MOST_SHOWN)) {
      if (this.fetched.has(of)) continue;
      this.fetched.add(of);
      this.send(`shown:${of}`, { kind: "look", step: this.step, tab: "shown", of });
    }
  }

  /** What a step printed is not in the snapshot: asked for when looked at, and again when there is more. */
  private askDetails(row: Row): void {
    const failed = row.segments.some((s) => s.outcome !== "ok" && s.outcome !== "running");
    const asks = row.status === "approval";
    const prints = `${row.attempt} ${row.prints} ${failed} ${asks && row.doing}`;
    if (prints === this.seenPrints || this.timer) return;
    this.seenPrints = prints;
    if (!row.prints && !failed && !asks) return;
    this.send("details", { kind: "details", step: row.step });
    this.timer = setTimeout(() => {
      this.timer = undefined;
      this.redraw();
    }, DETAILS_EVERY_MS);
  }
}
