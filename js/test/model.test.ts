import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { type Change, type Row, Store } from "../src/model";
import { FakeModel, fixture, patch } from "./fake";

let time = 0;

function opened(snapshot: unknown = {}): { model: FakeModel; store: Store; heard: Change[] } {
  const model = new FakeModel(snapshot);
  const store = new Store(model, () => time);
  const heard: Change[] = [];
  store.subscribe((change) => heard.push(change));
  return { model, store, heard };
}

function changed(row: Row | undefined, status: string): Row {
  return { ...(row as Row), status };
}

beforeEach(() => {
  time = 0;
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

test("a new store asks for everything, and lives with an empty trait", () => {
  const { model, store } = opened({});

  expect([store.snapshot, store.rows, model.sent]).toEqual([null, [], [{ kind: "resync" }]]);
});

test("a saved snapshot is shown, and its time stands still", () => {
  const { store } = opened(fixture("running"));

  time = 9000;

  expect([store.rows.length, store.moving, store.now()]).toEqual([5, false, 0.43]);
});

test("time moves once the kernel was heard, and never a little back", () => {
  const snapshot = fixture("running");
  const { model, store } = opened({});
  model.say({ kind: "snapshot", snapshot });

  time = 200;
  const before = store.now();
  model.say(patch({ ...snapshot, header: { ...snapshot.header, now: 0.5 } }, 13, []));
  const after = store.now();

  expect([before.toFixed(2), after.toFixed(2)]).toEqual(["0.63", "0.63"]);
});

test("a patch changes its rows and no others", () => {
  const snapshot = fixture("running");
  const { model, store, heard } = opened(snapshot);
  const untouched = store.row(0);

  model.say(patch(snapshot, 13, [changed(snapshot.rows[4], "ready")]));

  expect(store.row(4)?.status).toBe("ready");
  expect(store.row(0)).toBe(untouched);
  expect(heard).toEqual([{ kind: "rows", ids: [4] }]);
});

test("a gap is answered by one question, until a snapshot arrives", () => {
  const snapshot = fixture("running");
  const { model, store } = opened(snapshot);
  model.say({ kind: "snapshot", snapshot });

  model.say(patch(snapshot, 15, [changed(snapshot.rows[4], "running")]));
  model.say(patch(snapshot, 16, []));
  expect(model.asked("resync").length).toBe(2); // the first one, and this one
  expect(store.row(4)?.status).toBe("waiting");
  model.say({ kind: "snapshot", snapshot: { ...snapshot, seq: 16 } });
  model.say(patch(snapshot, 18, []));

  expect(model.asked("resync").length).toBe(3);
});

test("a patch of another run is a gap", () => {
  const snapshot = fixture("running");
  const { model } = opened(snapshot);
  model.say({ kind: "snapshot", snapshot });

  model.say(patch(snapshot, 13, [], "r8"));

  expect(model.asked("resync").length).toBe(2);
});

test("a patch that a snapshot overtook is left out", () => {
  const snapshot = fixture("running");
  const { model, store } = opened(snapshot);
  model.say({ kind: "snapshot", snapshot });

  model.say(patch(snapshot, 12, [changed(snapshot.rows[4], "running")]));

  expect([store.row(4)?.status, model.asked("resync").length]).toEqual(["waiting", 1]);
});

test("a synced trait is taken if it is newer or of another run", () => {
  const running = fixture("running");
  const { model, store, heard } = opened(running);

  model.sync({ ...running, seq: 12 });
  model.sync({ ...fixture("finished"), seq: 14 });
  model.sync(fixture("rerun"));

  expect(heard).toEqual([
    { kind: "all", newRun: false },
    { kind: "all", newRun: true },
  ]);
  expect(store.header?.run).toBe("r8");
});

test("requests are numbered, and their answers are told", () => {
  const { model, store, heard } = opened(fixture("finished"));

  const first = store.command({ kind: "preview", step: "a", executor: null });
  const second = store.command({ kind: "cancel" });
  model.say({ kind: "ack", request: second, ok: true, text: "done" });
  vi.advanceTimersByTime(6000);

  expect(model.sent.slice(1)).toEqual([
    { kind: "preview", step: "a", executor: null, request: first },
    { kind: "cancel", request: second },
  ]);
  expect([first, second]).toEqual([1, 2]);
  expect(heard).toEqual([
    { kind: "answer", answer: { kind: "ack", request: 2, ok: true, text: "done" } },
    { kind: "silence", request: 1 },
  ]);
});

test("a host that cannot send is a kernel that does not answer", () => {
  const { model, store, heard } = opened(fixture("finished"));
  model.send = () => {
    throw new Error("no comm");
  };

  const request = store.command({ kind: "cancel" });
  vi.advanceTimersByTime(5000);

  expect(heard).toEqual([{ kind: "silence", request }]);
});

test("what makes no sense is not taken in", () => {
  const { model, heard } = opened("nonsense");

  for (const message of [null, 7, "text", {}, { kind: "snapshot", snapshot: 3 }, { kind: "patch" }, { kind: "ack" }]) {
    model.say(message);
  }

  expect(heard).toEqual([]);
});

test("an answer with the steps that are known lays out nothing again, one with others does", () => {
  const snapshot = fixture("folded");
  const { model, store } = opened(snapshot);
  const known = store.rows;
  const rows = snapshot.rows.map((row) => ({ ...row, prints: 7 }));

  model.say({ kind: "snapshot", snapshot: { ...snapshot, seq: 20, rows } });
  const same = store.rows;
  model.say({ kind: "snapshot", snapshot: { ...snapshot, seq: 21, header: { ...snapshot.header, groups: [] } } });

  expect([same === known, same.map((row) => row.prints), store.row(3)?.prints]).toEqual([true, rows.map(() => 7), 0]);
  expect(store.rows).not.toBe(known);
});
