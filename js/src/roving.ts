/** A bar of buttons as one stop of the Tab key: the arrows go from one to the next. */

import { focused } from "./dom";

export function roving(bar: HTMLElement): void {
  bar.setAttribute("role", "toolbar");
  bar.addEventListener("keydown", (event) => {
    const all = buttons(bar);
    const at = all.indexOf(focused(bar) as HTMLButtonElement);
    const rtl = getComputedStyle(bar).direction === "rtl" ? -1 : 1;
    const targets: Record<string, number> = {
      ArrowRight: at + rtl,
      ArrowLeft: at - rtl,
      Home: 0,
      End: all.length - 1,
    };
    const target = targets[event.key];
    if (at < 0 || target === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation();
    all[Math.min(all.length - 1, Math.max(0, target))]?.focus();
  });
  bar.addEventListener("focusin", () => settled(bar));
}

/** After its buttons have changed: one of them, and only one, is reached by Tab. */
export function settled(bar: HTMLElement): void {
  const all = buttons(bar);
  const here = focused(bar) as HTMLButtonElement;
  const stop = all.includes(here) ? here : (all.find((node) => node.tabIndex === 0) ?? all[0]);
  for (const node of all) if (node.tabIndex !== (node === stop ? 0 : -1)) node.tabIndex = node === stop ? 0 : -1;
}

function buttons(bar: HTMLElement): HTMLButtonElement[] {
  return [...bar.querySelectorAll("button")].filter((node) => !node.hidden);
}
