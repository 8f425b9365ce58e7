/** What one view shows of a run. It never leaves the browser. */

import type { Zoom } from "./layout";
import type { Preview } from "./model";

/** A re-run on its way: asked about, shown to the person, given the word for, or refused. */
export interface Plan {
  phase: "asking" | "shown" | "applying";
  request: number;
  step: string;
  executor: string | null;
  preview: Preview | null;
}

export class ViewState {
  selected: number | null = null;
  /** The row that the Tab key reaches. */
  active = 0;
  zoom: Zoom = null;
  /** Groups that a person opened or closed, by name; the others are as big as they are. */
  folds: ReadonlyMap<string, boolean> = new Map();
  plan: Plan | null = null;
  /** The last thing the kernel said, or did not say. */
  message = "";
  private readonly listeners = new Set<() => void>();

  subscribe(listener: () => void): void {
    this.listeners.add(listener);
  }

  set(change: Partial<Pick<ViewState, "selected" | "active" | "zoom" | "folds" | "plan" | "message">>): void {
    Object.assign(this, change);
    for (const listener of this.listeners) listener();
  }
}
