/** "compare with": which earlier run is drawn behind this one, and by how much the whole differs. */

import { Compared, inWords, signed } from "./compare";
import { html, show, text } from "./dom";
import { duration } from "./format";
import type { Answer, Beside, Change, Others, Store } from "./model";
import type { ViewState } from "./viewstate";

export class Comparing {
  readonly root = html("div", "cb-compare");
  private request = 0; // the last question about one run
  private readonly label = html("label", "cb-mut");
  private readonly select = html("select", "cb-select");
  private readonly no = html("option"); // another run: none
  private readonly key = html("span", "cb-earlierkey");
  private readonly figure = html("span", "cb-num cb-diff");
  private readonly words = html("span", "cb-said");
  /** What makes the whole times unlike. */
  private readonly note = html("span", "cb-mut cb-unlike");
  private readonly leave: () => void;
  private others: Others | null = null;
  private asked = 0; // for the list of runs
  private wanted = ""; // the run that is asked for or shown
  private live = false; // it was asked for while this run was not over
  private from = ""; // the run that this view showed before: what is moved here is compared with it
  private picked = false; // somebody chose, a run or none: nothing is chosen for them any more

  constructor(
    private readonly store: Store,
    private readonly state: ViewState,
    private readonly say: (what: string) => void,
  ) {
    this.figure.setAttribute("aria-hidden", "true");
    this.label.append(html("span", "", "compare with "), this.select);
    this.key.setAttribute("aria-hidden", "true");
    this.root.append(this.label, this.key, this.figure, this.words, this.note);
    this.select.addEventListener("change", () => {
      this.picked = true;
      this.choose(this.select.value);
    });
    this.fill();
    this.leave = store.subscribe((change) => this.onChange(change));
    this.adopt("");
  }

  close(): void {
    this.leave();
  }

  /** The question that a person waits for. */
  get awaited(): number {
    return this.picked ? this.request : 0;
  }

  draw(): void {
    const { store, state, others } = this;
    show(this.root, (others?.runs.length ?? 0) > 0);
    const compared = state.compared;
    this.root.toggleAttribute("data-with", compared !== null);
    text(this.no, compared ? "none" : "Compare…");
    show(this.key, compared !== null);
    show(this.figure, typeof compared?.answer.difference === "number");
    show(this.note, (compared?.answer.note ?? "") !== "");
    text(this.note, compared?.answer.note ?? "");
    if (!compared) {
      text(this.words, "");
      return;
    }
    // The whole difference is known once this run is over, and so is what makes it unlike.
    if (this.live && !store.running) this.ask(compared.answer.run);
    const { difference, seconds, name } = compared.answer;
    const total = difference === null ? null : seconds + difference;
    text(this.figure, total === null ? "" : `${signed(total, seconds)} in all`);
    text(this.words, total === null ? `${name} took ${duration(seconds * 1000)}` : inWords(total, seconds, name));
  }

  private onChange(change: Change): void {
    if (change.kind === "all") {
      if (change.newRun) this.adopt(this.from);
      else if (!this.others) this.askOthers();
    } else if (change.kind === "answer") this.hear(change.answer);
    else if (change.kind === "silence" && change.request === this.request) {
      // What comes late, as from a kernel that starts its workers, is shown all the same.
      if (!this.state.compared) this.select.value = "";
    }
  }

  /** Another run is shown, which may have been started from the one before it. */
  private adopt(before: string): void {
    const header = this.store.header;
    const shown = this.wanted;
    this.others = null;
    this.none();
    this.wanted = this.picked ? shown : before;
    this.from = header?.run ?? "";
    this.askOthers();
  }

  private askOthers(): void {
    const { header, snapshot } = this.store;
    // The first run has nobody before it; a saved page has nobody to ask.
    if (header && header.number > 1 && snapshot?.still !== true) this.asked = this.store.command({ kind: "others" });
  }

  private hear(answer: Answer): void {
    if (answer.kind === "others" && answer.request === this.asked) this.list(answer);
    else if (answer.kind === "compare" && answer.request === this.request) this.show(answer);
    else if (answer.kind === "ack" && answer.request === this.request) this.none();
  }

  private list(others: Others): void {
    if (others.of !== this.store.header?.run) return;
    this.others = others;
    const { beside } = this.state;
    const chosen = this.picked ? this.wanted : beside; // now, or on an earlier visit
    // What somebody moved is compared with how it was, without being asked for.
    const from = this.wanted === others.parent ? this.wanted : "";
    const found = others.runs.find(({ run }) => run === (chosen ?? from));
    this.wanted = found?.run ?? "";
    this.fill();
    if (found) {
      this.state.beside = found.run;
      this.ask(found.run);
    }
    this.state.set({});
  }

  private fill(): void {
    const options = (this.others?.runs ?? []).map(({ run, name, told }) => {
      const option = html("option", "", `${name} · ${told}`);
      option.value = run;
      return option;
    });
    this.no.value = "";
    this.select.replaceChildren(this.no, ...options);
    this.select.value = this.wanted;
  }

  private choose(run: string): void {
    this.select.value = run;
    this.state.beside = run;
    if (run === "") {
      this.none();
      this.say("Compared with no other run.");
    } else {
      this.state.set({ message: "" });
      this.ask(run);
    }
  }

  private ask(run: string): void {
    this.wanted = run;
    this.live = this.store.running;
    this.request = this.store.command({ kind: "compare", with: run });
  }

  private none(): void {
    this.wanted = "";
    this.live = false;
    this.select.value = "";
    this.state.set({ compared: null });
  }

  private show(answer: Beside): void {
    if (answer.of !== this.store.header?.run || answer.run !== this.wanted) return;
    const first = this.state.compared?.answer.run !== answer.run;
    this.select.value = answer.run;
    this.state.set({ compared: new Compared(answer) });
    const line = `runs[${this.store.header?.number}].compare(${answer.name.replace("run ", "")})`;
    if (first && this.picked) this.state.set({ message: `In Python: ${line}` });
    if (first || answer.difference !== null) {
      this.say([`Compared with ${answer.name}: ${this.words.textContent}`, answer.note].filter(Boolean).join(". "));
    }
  }
}
