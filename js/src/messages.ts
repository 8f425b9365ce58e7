/** What passes between the kernel and the widget; the kernel's side is notebook/widget.py and panel.py. */

export interface Segment {
  attempt: number;
  where: string;
  remote: boolean;
  queued: number;
  start: number | null;
  end: number | null;
  outcome: string;
  /** Seconds of its way there, until `start`, and of its result's way back, until `end`; left out where none. */
  send?: number;
  fetch?: number;
}

export interface Row {
  id: number;
  step: string;
  status: string;
  where: string;
  remote: boolean;
  attempt: number;
  worker: string;
  reason: string;
  note: string;
  needs: readonly number[];
  segments: readonly Segment[];
  prints: number;
  ms: number | null;
  kind: "step" | "decision" | "undo";
  group: string;
  progress: number | null;
  doing: string;
  until: number | null;
  /** Whether its result came from the cache, or why not. */
  cache: string;
  /** Paused: from when on. */
  since: number | null;
  /** The last line that it printed, while it runs. */
  said: string;
}

/** A nested workflow: its name, its first task, and the one after its last. */
export type Group = readonly [name: string, first: number, stop: number];

export interface Header {
  run: string;
  number: number;
  workflow: string;
  status: string;
  started_at: number;
  now: number;
  done: number;
  total: number;
  local_ms: number;
  remote_ms: number;
  reused_from: number;
  groups: readonly Group[];
  /** What else people must know: that it is undone and why, that it is held up. */
  note: string;
  /** Steps by status. */
  counts: readonly (readonly [string, number])[];
  retries: number;
  critical: readonly number[];
  slack: readonly (number | null)[];
  finish: number | null;
  finish_from: string;
  /** By what a slot of the pools costs; 0 where none has a price. */
  cost: number;
}

export interface Executor {
  name: string;
  label: string;
  remote: boolean;
}

export interface Snapshot {
  seq: number;
  widget_id?: string;
  /** Saved as a page: nothing runs behind it. */
  still?: boolean;
  header: Header;
  rows: readonly Row[];
  executors: readonly Executor[];
}

export interface Patch {
  kind: "patch";
  run: string;
  seq: number;
  header: Header;
  rows: readonly Row[];
}

export interface Preview {
  kind: "preview";
  request: number;
  step: string;
  executor: string | null;
  runs: readonly string[];
  reuses: readonly string[];
  lost: string;
  code: string;
  ok: boolean;
  text: string;
  /** Of each step that runs, why it does. */
  why?: Readonly<Record<string, string>>;
  /** What those that were timed took when they last ran, together. */
  seconds?: number | null;
  untimed?: number;
}

/** A value as it is described: what it is called, and nothing of what is in it. */
export interface Described {
  of: string;
  name: string;
  type: string;
  size: string;
  digest: string;
  note: string;
}

/** One tab of a step's panel; each tab has some of these. */
export interface Look {
  kind: "look";
  request: number;
  step: string;
  tab: string;
  inputs?: readonly Described[];
  result?: Described | null;
  of?: string;
  text?: string;
  items?: readonly { name: string; type: string; size: string; digest: string }[];
  note?: string;
  lines?: readonly (readonly [number, string])[];
  /** What it displayed: by mime type, images as base64. */
  bundle?: Readonly<Record<string, string>>;
}

/** Executors that would be refused for a step, each with the reason. */
export interface Choices {
  kind: "choices";
  request: number;
  step: string;
  refused: Readonly<Record<string, string>>;
}

/** How a choice can be kept: lines of cells, or lines of a file that is written when it is confirmed. */
export interface Keep {
  kind: "keep";
  request: number;
  text: string;
  lines?: readonly { where: string; old: string; new: string }[];
  path?: string;
  code?: string;
  done?: boolean;
}

/** Runs that this one may be compared with, newest first. */
export interface Others {
  kind: "others";
  request: number;
  /** The run that was asked about. */
  of: string;
  runs: readonly { run: string; name: string; told: string }[];
  /** The run that it was started from; empty for none. */
  parent: string;
}

/** One step of another run. */
export interface EarlierRow {
  step: string;
  status: string;
  where: string;
  remote: boolean;
  kind: Row["kind"];
  group: string;
  note: string;
  /** From when it was handed over to its end, all attempts together; null: it did not succeed. */
  seconds: number | null;
  segments: readonly Segment[];
}

/** How the run went that this one is compared with. */
export interface Beside {
  kind: "compare";
  request: number;
  of: string;
  run: string;
  name: string;
  status: string;
  seconds: number;
  /** Seconds that this run took more; null while it runs. */
  difference: number | null;
  /** What makes the whole times unlike, as words. */
  note: string;
  rows: readonly EarlierRow[];
}

/** The line of a cell that replays a failed attempt, where an exception and a debugger belong. */
export interface ReplayLine {
  kind: "replay";
  request: number;
  step: string;
  code: string;
  text: string;
}

export interface SavedFile {
  kind: "file";
  request: number;
  name: string;
  mime: string;
  text: string;
}

export interface Ack {
  kind: "ack";
  request: number;
  ok: boolean;
  text: string;
}

export interface Details {
  kind: "details";
  request: number;
  step: string;
  output: readonly (readonly [string, string])[];
  error_type: string;
  error: string;
  traceback: string;
  /** What a decision is about, for a step that waits for one. */
  asked: string;
}

export type Answer = Preview | Ack | Details | Look | Choices | Keep | SavedFile | Others | Beside | ReplayLine;

/** How much runs again: a step and what depends on it, that step alone, or all. */
export type Scope = "from" | "this" | "all";

/** What a person asks for; `request` is added on the way out. */
export type Command =
  | { kind: "preview" | "apply"; step: string; executor: string | null; steps?: readonly string[]; scope?: Scope }
  | { kind: "look"; step: string; tab: string; of?: string }
  | { kind: "choices"; step: string; steps?: readonly string[] }
  | {
      kind: "keep";
      step: string;
      steps?: readonly string[];
      executor: string;
      where: "cell" | "configuration";
      confirmed: boolean;
    }
  | { kind: "replay"; step: string }
  | { kind: "file"; what: "svg" | "trace" | "html" }
  | { kind: "others" }
  | { kind: "compare"; with: string }
  | { kind: "details"; step: string }
  | { kind: "approve"; step: string; value: null }
  | { kind: "reject"; step: string; reason: string }
  | { kind: "cancel" };
