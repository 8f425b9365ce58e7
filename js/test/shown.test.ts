// @vitest-environment jsdom
import { beforeEach, expect, test, vi } from "vitest";
import { shownIn } from "../src/shown";
import { fixture } from "./fake";
import { click, fresh, one, press, row, type Shown, settle, shown } from "./host";

beforeEach(() => fresh());

const EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>";

function opened(step: string): Shown {
  const base = fixture("finished");
  const rows = base.rows.map((r) => (r.step === step ? { ...r, prints: 3 } : r));
  const all = shown({ ...base, rows });
  click(row(all.cb, step));
  press(document.activeElement, "Escape"); // the menu
  return all;
}

function details(all: Shown, output: [string, string][]): void {
  const { request, step } = all.model.asked("details").at(-1) as { request: number; step: string };
  all.model.say({ kind: "details", request, step, output, error_type: "", error: "", traceback: "", asked: "" });
  settle();
}

/** Answer all that was asked for of what was displayed, each once. */
function bundles(all: Shown, made: Record<string, Record<string, string>>): void {
  for (const { request, step, tab, of } of all.model.asked("look") as Record<string, string>[]) {
    if (tab === "shown") all.model.say({ kind: "look", request, step, tab, of, bundle: made[of as string] ?? {} });
  }
  settle();
}

test("what a step displayed stands among its prints, as image, frame or text, each fetched once", () => {
  const all = opened("check_inventory");
  const output: [string, string][] = [
    ["stdout", "before\n"],
    ["shown 1.1", "<Figure>\n"],
    ["shown 1.2", "a table\n"],
    ["shown 1.3", "an object\n"],
    ["stdout", "after\n"],
  ];
  details(all, output);
  const waiting = one(all.cb, ".cb-output").textContent;
  bundles(all, {
    "1.1": { "text/plain": "<Figure>", "image/png": "iVBORw0KGgo=" },
    "1.2": { "text/plain": "a table", "text/html": "<table></table>" },
    "1.3": { "text/plain": "an object" },
  });

  expect(waiting).toBe("before\n<Figure>\na table\nan object\nafter\n");
  const nodes = [...one(all.cb, ".cb-output").children];
  expect(nodes.map((n) => n.tagName)).toEqual(["SPAN", "IMG", "IFRAME", "SPAN", "SPAN"]);
  expect(nodes[1]?.getAttribute("src")).toBe("data:image/png;base64,iVBORw0KGgo=");
  expect(all.model.asked("look").filter((a) => a.tab === "shown").length).toBe(3);
});

test("markup that a step displayed is in a frame without any rights, and nowhere else", () => {
  const all = opened("check_inventory");
  details(all, [["shown 1.1", EVIL]]);
  bundles(all, { "1.1": { "text/plain": EVIL, "text/html": EVIL } });

  const frame = one(all.cb, ".cb-output iframe") as HTMLIFrameElement;
  expect([frame.getAttribute("sandbox"), frame.getAttribute("src")]).toEqual(["", null]);
  expect(frame.srcdoc.indexOf("default-src 'none'")).toBeLessThan(frame.srcdoc.indexOf(EVIL));
  expect(all.cb.querySelector("script, [onerror], .cb-output img")).toBeNull();
  expect(one(all.cb, ".cb-output").textContent).toBe(`${EVIL}: scripts in it are not run here\n`);
});

test("an image whose data or type is none is shown as its text", () => {
  const all = opened("check_inventory");
  details(all, [
    ["shown 1.1", "one\n"],
    ["shown 1.2", "two\n"],
    ["shown 1.3", "three\n"],
  ]);
  bundles(all, {
    "1.1": { "text/plain": "one", "image/png": '" onerror="alert(1)' },
    "1.2": { "text/plain": "two", "application/javascript": "alert(1)" },
    "1.3": {
      "text/plain": "three",
      "image/svg+xml": btoa("<svg onload='alert(1)' xmlns='http://www.w3.org/2000/svg'/>"),
    },
  });

  expect(one(all.cb, ".cb-output").textContent).toBe("one\ntwo\n");
  expect([...all.cb.querySelectorAll(".cb-output img")].map((n) => n.getAttribute("alt"))).toEqual(["three"]);
  expect(all.cb.querySelector("svg[onload]")).toBeNull();
});

test("what is drawn stays as it is when more is printed", () => {
  const all = opened("check_inventory");
  details(all, [["shown 1.1", "table\n"]]);
  bundles(all, { "1.1": { "text/plain": "table", "text/html": "<b>x</b>" } });
  const frame = one(all.cb, ".cb-output iframe");
  const { header, rows, seq } = fixture("finished");
  const more = rows.filter((r) => r.step === "check_inventory").map((r) => ({ ...r, prints: 4 }));
  vi.advanceTimersByTime(600); // it is asked for twice a second
  all.model.say({ kind: "patch", run: header.run, seq: seq + 1, header, rows: more });
  settle();
  details(all, [
    ["shown 1.1", "table\n"],
    ["stdout", "more\n"],
  ]);

  expect(one(all.cb, ".cb-output iframe")).toBe(frame);
  expect(one(all.cb, ".cb-output").textContent).toContain("more\n");
});

test("only a display is one", () => {
  expect(["stdout", "shown 1.2", "shown x", "shown 1.2 "].map(shownIn)).toEqual(["", "1.2", "", ""]);
});
