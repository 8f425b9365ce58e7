/** The store that keeps what comes from the kernel: one per model, older than any view of it. */

import type { Answer, Command, Header, Patch, Row, Snapshot } from "./messages";

export type * from "./messages";

export type Change =
  | { kind: "all"; newRun: boolean }
  | { kind: "rows"; ids: readonly number[] }
  | { kind: "answer"; answer: Answer }
  | { kind: "silence"; request: number };

/** The part of a widget model that is used here. Commands go by `send`, never by a trait: see `Store.command`. */
export interface Model {
  get(name: string): unknown;
  on(event: string, callback: (...args: unknown[]) => void): void;
  off(event: string, callback: (...args: unknown[]) => void): void;
  send(content: unknown): void;
}

export const ANSWER_WITHIN_MS = 5000;
/** A correction of "now" smaller than this many seconds never moves it back. */
const JITTER_S = 0.25;

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}

function isSnapshot(value: unknown): value is Snapshot {
  return isRecord(value) && isRecord(value.header) && Array.isArray(value.rows) && typeof value.seq === "number";
}

function isPatch(value: Record<string, unknown>): value is Record<string, unknown> & Patch {
  return value.kind === "patch" && isRecord(value.header) && Array.isArray(value.rows);
}

function isAnswer(value: Record<string, unknown>): value is Record<string, unknown> & Answer {
  return (
    ["preview", "ack", "details", "look", "choices", "keep", "file", "others", "compare", "replay"].includes(
      String(value.kind),
    ) && typeof value.request === "number"
  );
}

/** A snapshot that was saved by an older version says less. */
function completed(snapshot: Snapshot): Snapshot {
  const { header, rows } = snapshot;
  const plain = {
    kind: "step",
    group: "",
    progress: null,
    doing: "",
    until: null,
    cache: "",
    since: null,
    said: "",
  } as const;
  const known = rows[0] === undefined || (rows[0].kind !== undefined && rows[0].said !== undefined);
  const whole = { note: "", counts: [], retries: 0, critical: [], slack: [], finish: null, finish_from: "" };
  return {
    ...snapshot,
    header: header.counts === undefined ? { ...whole, ...header, groups: header.groups ?? [] } : header,
    rows: known ? rows : rows.map((row) => ({ ...plain, ...row })),
  };
}

/** Whether a snapshot is of the same steps, in the same groups and the same order. */
function isAlike(header: Header, rows: readonly Row[], next: Snapshot): boolean {
  if (rows.length !== next.rows.length || String(header.groups) !== String(next.header.groups)) return false;
  return next.rows.every((row, place) => {
    const known = rows[place];
    return row.id === known?.id && row.step === known.step && row.kind === known.kind && row.group === known.group;
  });
}

export class Store {
  snapshot: Snapshot | null = null;
  /** In the given order; the same array object for as long as it is of the same steps in the same groups. */
  rows: Row[] = [];
  /** Rows that wait for a person's answer. */
  private readonly asking = new Set<number>();
  private readonly places = new Map<number, number>();
  private readonly listeners = new Set<(change: Change) => void>();
  private readonly waiting = new Map<number, ReturnType<typeof setTimeout>>();
  private requests = 0;
  private resyncAt = Number.NEGATIVE_INFINITY;
  private heard = false;
  private base = { now: 0, at: 0 };

  constructor(
    private readonly model: Model,
    private readonly clock: () => number = () => performance.now(),
  ) {
    model.on("msg:custom", this.onMessage);
    model.on("change:snapshot", this.onTrait);
    const saved = model.get("snapshot");
    if (isSnapshot(saved)) this.adopt(saved);
    this.resync();
  }

  close(): void {
    this.model.off("msg:custom", this.onMessage);
    this.model.off("change:snapshot", this.onTrait);
    for (const timer of this.waiting.values()) clearTimeout(timer);
    this.waiting.clear();
    this.listeners.clear();
  }

  subscribe(listener: (change: Change) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  get header(): Header | null {
    return this.snapshot?.header ?? null;
  }

  get running(): boolean {
    return this.header?.status === "running";
  }

  /** Time moves only for a run that is told of live: a saved picture of a running one stands still. */
  get moving(): boolean {
    return this.running && this.heard && this.snapshot?.still !== true;
  }

  row(id: number): Row | undefined {
    const place = this.places.get(id);
    return place === undefined ? undefined : this.rows[place];
  }

  place(id: number): number | undefined {
    return this.places.get(id);
  }

  /** Rows that wait for a person's answer, in the given order. */
  get asks(): Row[] {
    if (!this.running) return [];
    return [...this.asking].sort((a, b) => a - b).flatMap((id) => this.row(id) ?? []);
  }

  /** Seconds since the run started. */
  now(): number {
    return this.moving ? this.base.now + (this.clock() - this.base.at) / 1000 : this.base.now;
  }

  /** Send a command; its answer, or the silence after it, is told to the listeners under the number returned. */
  command(command: Command): number {
    const request = ++this.requests;
    // Always a message: a trait set by the browser can get lost while a cell runs.
    this.send({ ...command, request });
    const timer = setTimeout(() => {
      this.waiting.delete(request);
      this.tell({ kind: "silence", request });
    }, ANSWER_WITHIN_MS);
    this.waiting.set(request, timer);
    return request;
  }

  private send(content: unknown): void {
    try {
      this.model.send(content);
    } catch {
      // No kernel behind a saved notebook: the silence is told after a while.
    }
  }

  /** Ask for everything, once until it arrives; again only if the question itself seems lost. */
  private resync(): void {
    if (this.clock() - this.resyncAt < ANSWER_WITHIN_MS) return;
    this.resyncAt = this.clock();
    this.send({ kind: "resync" });
  }

  private readonly onTrait = (): void => {
    const next = this.model.get("snapshot");
    if (!isSnapshot(next)) return;
    const known = this.snapshot;
    if (known && known.header.run === next.header.run && next.seq <= known.seq) return;
    this.heard = true;
    this.adopt(next);
  };

  private readonly onMessage = (message: unknown): void => {
    if (!isRecord(message)) return;
    this.heard = true;
    if (message.kind === "snapshot" && isSnapshot(message.snapshot)) {
      this.resyncAt = Number.NEGATIVE_INFINITY;
      this.adopt(message.snapshot);
    } else if (isPatch(message)) {
      this.patch(message);
    } else if (isAnswer(message)) {
      clearTimeout(this.waiting.get(message.request));
      this.waiting.delete(message.request);
      this.tell({ kind: "answer", answer: message });
    }
  };

  private adopt(saved: Snapshot): void {
    const snapshot = completed(saved);
    const newRun = this.header?.run !== snapshot.header.run;
    // An answer to `resync` mostly says what is known: thousands of lines need not be laid out again for it.
    const same = !newRun && this.snapshot !== null && isAlike(this.snapshot.header, this.rows, snapshot);
    this.snapshot = snapshot;
    if (!same) {
      this.rows = [];
      this.places.clear();
    }
    this.asking.clear();
    snapshot.rows.forEach((row, place) => {
      this.rows[place] = row;
      if (!same) this.places.set(row.id, place);
      if (row.status === "approval") this.asking.add(row.id);
    });
    this.setNow(snapshot.header, newRun);
    this.tell({ kind: "all", newRun });
  }

  private patch(patch: Patch): void {
    const known = this.snapshot;
    if (!known || known.header.run !== patch.run || patch.seq > known.seq + 1) {
      this.resync();
      return;
    }
    if (patch.seq <= known.seq) return; // a snapshot overtook it
    const ids: number[] = [];
    for (const row of patch.rows) {
      const place = this.places.get(row.id) ?? this.rows.length; // what undoes comes later, after the others
      this.places.set(row.id, place);
      this.rows[place] = row;
      if (row.status === "approval") this.asking.add(row.id);
      else this.asking.delete(row.id);
      ids.push(row.id);
    }
    this.snapshot = { ...known, seq: patch.seq, header: patch.header, rows: this.rows };
    this.setNow(patch.header, false);
    this.tell({ kind: "rows", ids });
  }

  private setNow(header: Header, newRun: boolean): void {
    const at = this.clock();
    const shown = this.base.now + (at - this.base.at) / 1000;
    const ahead = shown - header.now;
    const keep = !newRun && header.status === "running" && ahead > 0 && ahead < JITTER_S;
    this.base = { now: keep ? shown : header.now, at };
  }

  private tell(change: Change): void {
    for (const listener of [...this.listeners]) listener(change);
  }
}
