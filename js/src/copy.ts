/** Lines of code that people may take with them. */

import { button, html, text } from "./dom";

const SAID_MS = 1600;

/** Put text on the clipboard; false where the page may not, as in some embedded views. */
async function copied(content: string): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(content);
    return true;
  } catch {
    return false;
  }
}

/** A line of code with a button that copies it; where that is not allowed, the line is selected instead. */
export class CodeLine {
  readonly root = html("div", "cb-codeline");
  readonly code = html("code", "cb-code");
  private readonly copy: HTMLButtonElement;
  private timer: ReturnType<typeof setTimeout> | undefined;

  constructor(label = "Copy as code") {
    this.copy = button("cb-copy", "Copy", () => void this.take());
    this.copy.setAttribute("aria-label", label);
    this.copy.title = label;
    this.code.tabIndex = 0; // long ones can be scrolled by keys
    this.root.append(this.code, this.copy);
  }

  get value(): string {
    return this.code.textContent ?? "";
  }

  draw(content: string): void {
    text(this.code, content);
    if (this.root.hidden !== (content === "")) this.root.hidden = content === "";
  }

  /** On its button: what follows is mostly a paste. */
  focus(): void {
    this.copy.focus();
  }

  private async take(): Promise<void> {
    const done = await copied(this.value);
    if (!done) getSelection()?.selectAllChildren(this.code);
    text(this.copy, done ? "Copied" : "Press Ctrl+C");
    clearTimeout(this.timer);
    this.timer = setTimeout(() => text(this.copy, "Copy"), SAID_MS);
  }
}
