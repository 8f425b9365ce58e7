/** What one view shows of a run. It never leaves the browser. */

import type { Compared } from "./compare";
import { type Filter, NO_FILTER } from "./filter";
import { keep, kept } from "./memory";
import type { Preview, Scope } from "./model";
import type { Zoom } from "./time";

/** A re-run on its way: asked about, shown to the person, given the word for, or refused. */
export interface Plan {
  phase: "asking" | "shown" | "applying";
  request: number;
  step: string;
  /** All steps that it is about, where they are several. */
  steps?: readonly string[];
  scope?: Scope;
  executor: string | null;
  preview: Preview | null;
}

type Shown = "selected" | "active" | "zoom" | "folds" | "filter" | "gaps" | "plan" | "compared" | "message";

export class ViewState {
  selected: number | null = null;
  /** The row that the Tab key reaches. */
  active = 0;
  zoom: Zoom = null;
  /** Groups that a person opened or closed, by name; the others are as big as they are. */
  folds: ReadonlyMap<string, boolean> = new Map();
  filter: Filter = NO_FILTER;
  /** Whether idle gaps are drawn short. */
  gaps = false;
  /** px; set from memory, taken by the chart once it has a size. */
  scroll = 0;
  plan: Plan | null = null;
  /** The run that is drawn behind this one. */
  compared: Compared | null = null;
  /** Which run that is, for the next visit: empty for none by choice, null where nobody chose. */
  beside: string | null = null;
  /** The last thing the kernel said, or did not say. */
  message = "";
  /** How many steps the filter lets through; null where there is none. The chart knows. */
  matches: number | null = null;
  /** Whether there are gaps worth cutting. The chart knows. */
  idle = false;
  /** Put the cursor into the search field; the legend has it. */
  toSearch: () => void = () => {};
  /** Give the focus back to the chart, to the first step that is found. */
  toChart: () => void = () => {};
  private readonly listeners = new Set<() => void>();

  subscribe(listener: () => void): void {
    this.listeners.add(listener);
  }

  set(change: Partial<Pick<ViewState, Shown>>): void {
    Object.assign(this, change);
    for (const listener of this.listeners) listener();
  }

  /** A run comes up: as it was looked at last in this tab, else whole. */
  recall(run: string): void {
    Object.assign(this, kept(run) ?? { zoom: null, filter: NO_FILTER, scroll: 0, beside: null });
  }

  keep(run: string, scroll: number): void {
    const { zoom, folds, filter, gaps, beside } = this;
    keep(run, { zoom, folds, filter, gaps, scroll, beside });
  }
}
