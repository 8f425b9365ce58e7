// A fake kernel in the page. ?case=NAME of fixtures/, or many[&theme=light|dark][&n=10000][&silent]

import { beside, others } from "/fixtures/beside.mjs";
import { more } from "/fixtures/more.mjs";
import { fixtures, many } from "/fixtures/snapshots.mjs";
import create from "/widget.js";

const asked = new URLSearchParams(location.search);
const name = asked.get("case") ?? "running";
const theme = asked.get("theme");
if (theme) document.body.className = `jp-${theme}`;
const snapshot = name === "many" ? many(Number(asked.get("n") ?? 10000)) : { ...fixtures, ...more }[name];
const silent = asked.has("silent");
const listeners = { "msg:custom": [], "change:snapshot": [] };

/** What the widget sent, for tests to read. */
export const sent = [];

export const model = {
  get: (trait) => (trait === "snapshot" ? (asked.has("empty") ? {} : snapshot) : undefined),
  on: (event, callback) => listeners[event]?.push(callback),
  off: (event, callback) => listeners[event]?.splice(listeners[event].indexOf(callback) >>> 0, 1),
  send(message) {
    sent.push(message);
    if (!silent) setTimeout(() => answer(message), 40);
  },
};

export function tell(message) {
  for (const listener of [...listeners["msg:custom"]]) listener(message, []);
}

function answer({ kind, request, step, executor }) {
  if (kind === "resync") tell({ kind: "snapshot", snapshot });
  if (kind === "preview") {
    const place = executor === null ? "" : `, executor="${executor}"`;
    tell({
      kind,
      request,
      step,
      executor,
      runs: [...new Set([step, "process_payment", "finalize_order"])],
      reuses: ["validate_order", "calculate_tax"],
      lost: step === "process_payment" ? "214 ms of work on worker 2 are lost." : "",
      code: `run.rerun("${step}"${place})`,
      ok: true,
      text: "",
    });
  }
  if (kind === "others") tell(others(snapshot, request));
  if (kind === "compare") tell(beside(snapshot, request));
  if (kind === "apply")
    tell({ kind: "ack", request, ok: true, text: `${step} goes to ${executor ?? "where it was"}.` });
  if (kind === "approve" || kind === "reject")
    tell({ kind: "ack", request, ok: true, text: `${step} is answered. In Python: runs[7].${kind}("${step}")` });
  if (kind === "cancel") tell({ kind: "ack", request, ok: true, text: "The run is being cancelled." });
  if (kind === "details") {
    const failed = name === "failed" && step === "process_payment";
    tell({
      kind,
      request,
      step,
      output: [
        ["stdout", "querying 3 warehouses\n"],
        ["stderr", "WH-002 answers slowly\n"],
        ["stdout", "WH-001: 14 in stock\n"],
      ],
      error_type: failed ? "PaymentError" : "",
      error: failed ? "card declined" : "",
      traceback: failed ? 'Traceback:\n  File "cell 3", line 8, in process_payment\nPaymentError: card declined' : "",
      asked: step === "charge_card" ? "{'order': 77, 'amount': 1240, 'currency': 'EUR', 'customer': 'C-2041'}" : "",
    });
  }
}

const begun = performance.now();
const widget = create();
widget.initialize({ model });
widget.render({ model: { ...model }, el: document.getElementById("here") });
/** Milliseconds until the first picture is there, with its layout. */
const painted = new Promise((done) =>
  requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - begun))),
);
Object.assign(window, { cb: { sent, tell, snapshot, painted } });
