// Runs in the page of the demo: 50 patches, 10 a second, then a scroll through everything, then both at once.
export default async (perPatch) => {
  const { tell, snapshot } = window.cb;
  let seq = snapshot.seq,
    now = snapshot.header.now;
  const spent = [],
    frames = [];
  let last = performance.now(),
    on = true;
  const frame = () => {
    const t = performance.now();
    frames.push(t - last);
    last = t;
    if (on) requestAnimationFrame(frame);
  };
  const raf = window.requestAnimationFrame.bind(window);
  let drawn = 0;
  window.requestAnimationFrame = (f) =>
    raf((t) => {
      const a = performance.now();
      f(t);
      if (f !== frame) drawn += performance.now() - a;
    });
  requestAnimationFrame(frame);
  const update = (i) => {
    now += 0.1;
    const rows = Array.from({ length: perPatch }, (_, k) => {
      const row = snapshot.rows[(i * perPatch + k) % snapshot.rows.length];
      const { where, remote } = row;
      const run = { attempt: 1, where, remote, queued: now - 0.05, start: now, end: null, outcome: "running" };
      return { ...row, status: "running", attempt: 1, segments: [run] };
    });
    drawn = 0;
    const a = performance.now();
    tell({ kind: "patch", run: snapshot.header.run, seq: ++seq, header: { ...snapshot.header, now }, rows });
    return performance.now() - a;
  };
  for (let i = 0; i < 50; i++) {
    const told = update(i);
    await new Promise((r) => setTimeout(r, 100));
    spent.push(told + drawn);
  }
  on = false;
  const q = (list, p) => [...list].sort((x, y) => x - y)[Math.floor(list.length * p)].toFixed(1);
  const box = document.querySelector(".cb-scroll");
  const scroll = [];
  for (let i = 0; i < 120; i++) {
    await new Promise((r) => raf(r));
    drawn = 0;
    box.scrollTop = (i * box.scrollHeight) / 120;
    await new Promise((r) => raf(() => setTimeout(r)));
    scroll.push(drawn);
  }
  const both = [];
  last = await new Promise((r) => raf(() => r(performance.now())));
  for (let i = 0; i < 240; i++) {
    if (i % 6 === 0) update(i / 6); // ten a second, sixty frames a second
    box.scrollTop = 40 * i;
    const t = await new Promise((r) => raf(() => r(performance.now())));
    both.push(t - last);
    last = t;
  }
  return {
    rows: document.querySelectorAll(".cb-row").length,
    update_ms_p50: q(spent, 0.5),
    update_ms_p95: q(spent, 0.95),
    frame_ms_p50: q(frames, 0.5),
    frame_ms_p95: q(frames, 0.95),
    both_frame_ms_p95: q(both, 0.95),
    scroll_draw_ms_p50: q(scroll, 0.5),
    scroll_draw_ms_p95: q(scroll, 0.95),
  };
};
