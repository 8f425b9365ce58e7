/** Steps that wait for an answer: said once, gone through one after the other, answered once. */

import type { Command, Row, Store } from "./model";

export class Asking {
  /** Number of the last answer that was sent. */
  request = 0;
  private answering: number | null = null; // the row whose answer is on its way
  private told: ReadonlySet<number> = new Set(); // rows that were announced

  constructor(private readonly store: Store) {}

  /** Another run is shown. */
  forget(): void {
    this.answering = null;
    this.told = new Set();
  }

  /** What waits since it was last asked for news, in words; empty where nothing does. */
  news(): string {
    const fresh = this.store.asks.filter((row) => !this.told.has(row.id));
    this.told = new Set(this.store.asks.map((row) => row.id));
    return fresh.map(({ step, doing }) => `${step} waits for approval: ${doing}`).join(". ");
  }

  /** The step that waits after this one, from the top again at the end. */
  after(id: number | null): Row | undefined {
    const { asks } = this.store;
    return asks[(asks.findIndex((row) => row.id === id) + 1) % asks.length];
  }

  /** Send an answer; false where one is on its way. */
  decide(row: Row, command: Command): boolean {
    if (this.answering === row.id) return false;
    this.request = this.store.command(command);
    this.answering = row.id;
    return true;
  }

  isAnswering(row: Row): boolean {
    return this.answering === row.id;
  }

  /** The kernel has spoken about a request, or will not. */
  heard(request: number): void {
    if (request === this.request) this.answering = null;
  }
}
