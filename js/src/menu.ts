/** A small menu: of a row, where to move its step or to run again from it; of a run, how to save it. */

import { focused, html } from "./dom";
import type { Executor, Row } from "./model";

export interface Choice {
  label: string;
  enabled: boolean;
  /** A move; null for where it is. */
  executor?: string | null;
  action?: string;
  /** Why it cannot be chosen, or what it is. */
  hint?: string;
}

type Refused = Readonly<Record<string, string>>;

/** What can be chosen for a row: every known executor, and to run again from here. */
export function choices(row: Row, executors: readonly Executor[], refused: Refused = {}): Choice[] {
  const begun = row.status !== "waiting" && row.status !== "ready" && row.kind !== "undo";
  // A decision is made where the notebook is, what undoes is called by the run: there is nothing to move.
  const moves = (row.kind === "step" ? executors : []).map((e) => {
    const here = e.name === row.where || e.label === row.where;
    const hint = here ? "" : (refused[e.name] ?? "");
    const label = here ? `${e.label} (now)` : `Move to ${e.label}`;
    return { label, executor: e.name, enabled: !here && hint === "", hint };
  });
  return [...moves, { label: "Re-run from here", executor: null, action: "rerun", enabled: begun }];
}

/** ms in which what was just opened may still grow, and so move what is around it. */
const SETTLES_MS = 600;

export class Menu {
  readonly root = html("div", "cb-menu");
  private done: (() => void) | null = null;
  private anchor: () => DOMRect = () => this.home.getBoundingClientRect();
  private openedAt = 0;

  constructor(private readonly home: HTMLElement) {
    this.root.setAttribute("role", "menu");
    this.root.hidden = true;
    if ("popover" in HTMLElement.prototype) this.root.setAttribute("popover", "manual");
    this.root.addEventListener("keydown", (e) => this.onKey(e));
    this.root.addEventListener("focusout", (e) => {
      if (e.relatedTarget instanceof Node && !this.root.contains(e.relatedTarget)) this.shut();
    });
  }

  get open(): boolean {
    return !this.root.hidden;
  }

  /** Open below `anchor`; `back` gives the focus to where it came from. */
  show(
    title: string,
    list: readonly Choice[],
    anchor: () => DOMRect,
    choose: (c: Choice) => void,
    back: () => void,
  ): void {
    this.shut();
    this.root.setAttribute("aria-label", title);
    this.root.replaceChildren(
      ...list.map((choice) => {
        const item = html("div", "cb-item", choice.label);
        item.setAttribute("role", "menuitem");
        item.tabIndex = -1;
        if (typeof choice.executor === "string") item.dataset.executor = choice.executor;
        if (choice.action) item.dataset.action = choice.action;
        if (choice.hint) item.append(html("div", "cb-hint", choice.hint));
        if (!choice.enabled) item.setAttribute("aria-disabled", "true");
        item.addEventListener("click", () => {
          if (item.getAttribute("aria-disabled") === "true") return;
          this.shut();
          back();
          choose(choice);
        });
        return item;
      }),
    );
    this.root.hidden = false;
    this.anchor = anchor;
    this.openedAt = performance.now();
    this.place(anchor());
    document.addEventListener("pointerdown", this.onOutside, true);
    document.addEventListener("scroll", this.onScroll, true);
    this.done = back;
    this.items.find((item) => item.getAttribute("aria-disabled") !== "true")?.focus({ preventScroll: true });
  }

  /** It turned out what cannot be chosen. */
  refuse(refused: Refused): void {
    for (const item of this.items) {
      const why = refused[item.dataset.executor ?? ""];
      if (!why || item.getAttribute("aria-disabled") === "true") continue;
      item.setAttribute("aria-disabled", "true");
      item.append(html("div", "cb-hint", why));
    }
  }

  shut(): void {
    if (!this.open) return;
    this.root.hidden = true;
    if (this.top) this.root.hidePopover();
    document.removeEventListener("pointerdown", this.onOutside, true);
    document.removeEventListener("scroll", this.onScroll, true);
    this.done = null;
  }
  private get items(): HTMLElement[] {
    return [...this.root.children].filter((c): c is HTMLElement => c instanceof HTMLElement);
  }

  /** Whether the browser has a layer above the page: no scrolling output area can cut the menu there. */
  private get top(): boolean {
    return typeof this.root.showPopover === "function";
  }

  private place(anchor: DOMRect): void {
    if (this.top && !this.root.matches(":popover-open")) this.root.showPopover();
    const home = this.top ? { left: 0, top: 0 } : this.home.getBoundingClientRect();
    const size = this.root.getBoundingClientRect();
    const left = Math.max(6, Math.min(anchor.left + Math.min(anchor.width / 2, 24), innerWidth - size.width - 8));
    const below = anchor.bottom + 6;
    const top =
      below + size.height > innerHeight && anchor.top > size.height + 12 ? anchor.top - size.height - 6 : below;
    this.root.style.left = `${left - home.left}px`;
    this.root.style.top = `${top - home.top}px`;
  }

  private readonly onOutside = (event: Event): void => {
    if (!event.composedPath().includes(this.root)) this.shut();
  };

  private readonly onScroll = (event: Event): void => {
    if (event.target === this.root) return;
    if (performance.now() - this.openedAt > SETTLES_MS) this.shut();
    else this.place(this.anchor());
  };

  private onKey(event: KeyboardEvent): void {
    const items = this.items;
    const at = items.indexOf(focused(this.root) as HTMLElement);
    const moves: Record<string, number> = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 };
    const target = moves[event.key];
    if (target !== undefined) items[(target + items.length) % items.length]?.focus({ preventScroll: true });
    else if (event.key === "Enter" || event.key === " ") items[at]?.click();
    else if (event.key === "Escape" || event.key === "Tab") {
      const back = this.done;
      this.shut();
      back?.();
    } else return;
    event.preventDefault();
    event.stopPropagation();
  }
}
