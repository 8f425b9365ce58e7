/** What a newcomer has to know once: shown until somebody has opened a step in this browser. */

import { html, show, text } from "./dom";

const KEY = "cerebelum_nb:tip:opened";

export class Tip {
  readonly root = html("div", "cb-tip");
  private known: boolean;

  constructor() {
    show(this.root, false);
    try {
      // Where the page is sandboxed this throws.
      this.known = globalThis.localStorage?.getItem(KEY) === "yes";
    } catch {
      this.known = false;
    }
  }

  /** `still`: nothing can be moved, only looked at. */
  draw(shown: boolean, still: boolean): void {
    show(this.root, shown && !this.known);
    text(this.root, `Click a step to see where its time went${still ? "." : ", to move it, or to run again from it."}`);
  }

  /** Somebody has found it. */
  done(): void {
    if (this.known) return;
    this.known = true;
    show(this.root, false);
    try {
      globalThis.localStorage?.setItem(KEY, "yes");
    } catch {
      // Full, or forbidden: it is said once more on the next page.
    }
  }
}
