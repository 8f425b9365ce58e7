import failed from "../fixtures/failed.json";
import finished from "../fixtures/finished.json";
import folded from "../fixtures/folded.json";
import leftover from "../fixtures/leftover.json";
import names from "../fixtures/names.json";
import overnight from "../fixtures/overnight.json";
import paused from "../fixtures/paused.json";
import pools from "../fixtures/pools.json";
import rerun from "../fixtures/rerun.json";
import running from "../fixtures/running.json";
import undoing from "../fixtures/undoing.json";
import undone from "../fixtures/undone.json";
import type { Model, Row, Snapshot } from "../src/model";

const FIXTURES: Readonly<Record<string, unknown>> = {
  ...{ failed, finished, folded, leftover, names, overnight, paused, pools, rerun, running, undoing, undone },
};

/** A snapshot of `fixtures/`, fresh at every call. */
export function fixture(name: string): Snapshot {
  return structuredClone(FIXTURES[name]) as Snapshot;
}

/** A model without a host: keeps what is sent, says what it is told to. */
export class FakeModel implements Model {
  readonly sent: Record<string, unknown>[] = [];
  private readonly callbacks = new Map<string, Set<(...args: unknown[]) => void>>();

  constructor(public snapshot: unknown = {}) {}

  get(name: string): unknown {
    return name === "snapshot" ? this.snapshot : undefined;
  }

  on(event: string, callback: (...args: unknown[]) => void): void {
    const known = this.callbacks.get(event) ?? new Set();
    this.callbacks.set(event, known.add(callback));
  }

  off(event: string, callback: (...args: unknown[]) => void): void {
    this.callbacks.get(event)?.delete(callback);
  }

  send(content: unknown): void {
    this.sent.push(content as Record<string, unknown>);
  }

  say(message: unknown): void {
    for (const callback of [...(this.callbacks.get("msg:custom") ?? [])]) callback(message, []);
  }

  sync(snapshot: unknown): void {
    this.snapshot = snapshot;
    for (const callback of [...(this.callbacks.get("change:snapshot") ?? [])]) callback();
  }

  asked(kind: string): Record<string, unknown>[] {
    return this.sent.filter((message) => message.kind === kind);
  }
}

export function patch(of: Snapshot, seq: number, rows: Row[], run = of.header.run): unknown {
  return { kind: "patch", run, seq, header: of.header, rows };
}
