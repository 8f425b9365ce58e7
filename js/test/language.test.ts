// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import type { Row, Snapshot } from "../src/model";
import { SILENT } from "../src/widget";
import { type FakeModel, fixture, patch } from "./fake";
import { click, fresh, group, one, press, row, settle, shown } from "./host";

beforeEach(() => fresh());

function names(cb: HTMLElement): string[] {
  return [...cb.querySelectorAll(".cb-row .cb-name")].map((name) => name.textContent ?? "");
}

function sayDetails(model: FakeModel, asked: string): void {
  const ask = model.asked("details").at(-1);
  const nothing = { output: [], error_type: "", error: "", traceback: "" };
  model.say({ kind: "details", request: ask?.request, step: ask?.step, ...nothing, asked });
}

test("a nested workflow is one line that opens and closes, and names lose its name", () => {
  const { cb } = shown(fixture("paused"));
  const before = names(cb);
  click(group(cb, "prepare"));

  expect(before.slice(0, 8)).toEqual([
    "load_orders",
    "prepare",
    "clean",
    "dedupe",
    "hash",
    "merge",
    "normalise",
    "validate?",
  ]);
  expect(names(cb).slice(0, 3)).toEqual(["load_orders", "prepare", "validate?"]);
  const node = group(cb, "prepare");
  expect([
    node.getAttribute("aria-expanded"),
    node.getAttribute("aria-label"),
    node.hasAttribute("aria-haspopup"),
  ]).toEqual(["false", "prepare, 4 of 4, 9.20 s, succeeded", false]);
});

test("arrows open a group, go in, and come out again; Enter folds it", () => {
  const { cb } = shown(fixture("folded"));
  const at = (): string | null | undefined =>
    document.activeElement?.getAttribute("data-group") ?? document.activeElement?.getAttribute("data-step");
  const seen: unknown[] = [];
  group(cb, "score").focus();
  for (const key of ["ArrowRight", "ArrowRight", "ArrowDown", "ArrowLeft", "ArrowLeft", "Enter", "Enter"]) {
    press(document.activeElement, key);
    seen.push([at(), group(cb, "score").getAttribute("aria-expanded")]);
  }

  expect(seen).toEqual([
    ["score", "true"],
    ["score/part_1", "true"],
    ["score/part_2", "true"],
    ["score", "true"],
    ["score", "false"],
    ["score", "true"],
    ["score", "false"],
  ]);
});

test("what was opened stays open while the run goes on, and in the next one", () => {
  const { model, cb } = shown(fixture("folded"));
  click(group(cb, "score"));
  model.sync({ ...fixture("folded"), header: { ...fixture("folded").header, run: "r8" } });
  settle();

  expect(group(cb, "score").getAttribute("aria-expanded")).toBe("true");
});

test("the row that Tab reaches is never inside a closed group", () => {
  const { cb } = shown(fixture("paused"));
  row(cb, "prepare/clean").focus();
  press(document.activeElement, "ArrowDown");
  click(group(cb, "prepare"));

  expect([...cb.querySelectorAll('.cb-row[tabindex="0"]')].map((r) => r.getAttribute("data-group"))).toEqual([
    "prepare",
  ]);
});

test("a decision is called one, says its way, and cannot be moved", () => {
  const { cb } = shown(fixture("paused"));
  const node = row(cb, "validate?");
  const said = [node.dataset.kind, node.getAttribute("aria-label"), node.querySelectorAll(".cb-choice").length];
  click(node);

  expect(said).toEqual(["decision", "validate?, took 'ship', decision, on the critical path", 1]);
  expect([...cb.querySelectorAll(".cb-menu [role=menuitem]")].map((i) => i.textContent)).toEqual(["Re-run from here"]);
  expect([...cb.querySelectorAll(".cb-move")].every((move) => (move as HTMLElement).hidden)).toBe(true);
});

test("a step that was passed by is muted, and its tooltip says why", () => {
  const { cb } = shown(fixture("paused"));
  const node = row(cb, "refund");
  node.dispatchEvent(new Event("pointerover", { bubbles: true }));

  expect([node.dataset.status, node.querySelectorAll(".cb-dot").length, one(node, "title").textContent]).toEqual([
    "skipped",
    1,
    "refund\nvalidate? took 'ship'",
  ]);
});

test("who is asked is told so, finds the question in the header, and sees what it is about", () => {
  const { model, cb } = shown(fixture("paused"));
  const told = [one(cb, ".cb-live").textContent, one(cb, ".cb-asks").textContent];
  click(one(cb, ".cb-asks"));
  sayDetails(model, "order: 77\n<b>amount</b>: 1240");

  expect(told).toEqual(["charge_card waits for approval: charge 1,240 EUR to the card of order 77", "1 waits for you"]);
  expect([one(cb, ".cb-question").textContent, one(cb, ".cb-asked").textContent]).toEqual([
    "charge 1,240 EUR to the card of order 77",
    "order: 77\n<b>amount</b>: 1240",
  ]);
  expect([document.activeElement?.className, one(cb, ".cb-menu").hidden]).toEqual(["cb-ask", true]);
});

test("Approve sends the answer once, and shows its line of code", () => {
  const { model, cb } = shown(fixture("paused"));
  click(row(cb, "charge_card"));
  click(one(cb, ".cb-approve"));
  click(one(cb, ".cb-approve"));
  const sent = model.asked("approve");
  const focus = document.activeElement?.getAttribute("data-step");
  const code = 'charge_card approved. In Python: runs[7].approve("charge_card")';
  model.say({ kind: "ack", request: sent[0]?.request, ok: true, text: code });

  expect(sent).toEqual([{ kind: "approve", step: "charge_card", value: null, request: sent[0]?.request }]);
  expect([focus, one(cb, ".cb-message").textContent, one(cb, ".cb-live").textContent]).toEqual([
    "charge_card",
    code,
    code,
  ]);
});

test("Reject carries the reason, which may be empty", () => {
  const { model, cb } = shown(fixture("paused"));
  click(row(cb, "charge_card"));
  (one(cb, ".cb-reason") as HTMLInputElement).value = "  too much ";
  click(one(cb, ".cb-reject"));

  expect(model.asked("reject").map(({ request: _, ...rest }) => rest)).toEqual([
    { kind: "reject", step: "charge_card", reason: "too much" },
  ]);
});

test("an answer that nobody hears can be given again", () => {
  const { cb } = shown(fixture("paused"));
  click(row(cb, "charge_card"));
  click(one(cb, ".cb-approve"));
  vi.advanceTimersByTime(5100);

  expect([one(cb, ".cb-message").textContent, (one(cb, ".cb-approve") as HTMLButtonElement).disabled]).toEqual([
    SILENT,
    false,
  ]);
});

test("what is answered waits no more, in the panel and in the header", () => {
  const snapshot = fixture("paused");
  const { model, cb } = shown(snapshot);
  click(row(cb, "charge_card"));
  model.say(patch(snapshot, 13, [{ ...(snapshot.rows[9] as Row), status: "running", until: null }]));
  settle();

  expect([one(cb, ".cb-ask").hidden, one(cb, ".cb-asks").hidden]).toEqual([true, true]);
});

test("a question within a closed group is found from the header", () => {
  const base = fixture("paused");
  const header = { ...base.header, groups: [["pay", 7, 10]] };
  const rows = base.rows.map((r) => (r.id > 6 && r.id < 10 ? { ...r, step: `pay/${r.step}`, group: "pay" } : r));
  const { cb } = shown({ ...base, header, rows });
  click(group(cb, "pay"));
  const closed = [group(cb, "pay").dataset.status, cb.querySelector('[data-step="pay/charge_card"]')];
  click(one(cb, ".cb-asks"));

  expect(closed).toEqual(["approval", null]);
  expect([group(cb, "pay").getAttribute("aria-expanded"), one(cb, ".cb-panel").dataset.step]).toEqual([
    "true",
    "pay/charge_card",
  ]);
});

test("a snapshot saved by an older version is drawn as well", () => {
  const base = fixture("finished");
  const old = base.rows.map(({ kind: _k, group: _g, progress: _p, doing: _d, until: _u, ...rest }) => rest);
  const { groups: _, ...header } = base.header;
  const { cb } = shown({ ...base, header, rows: old } as unknown as Snapshot);

  expect([names(cb).length, row(cb, "check_inventory").getAttribute("aria-label")]).toEqual([
    5,
    "check_inventory, 200 ms, worker 2, distributed, succeeded, on the critical path",
  ]);
});
