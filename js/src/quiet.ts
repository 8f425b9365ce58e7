/** Keys pressed in the widget are none of the notebook's one-key commands: "d d" would delete the cell. */

/** Keep them; Ctrl+S still saves. Returns what ends it. */
export function keepKeys(root: HTMLElement): () => void {
  const onKey = (event: KeyboardEvent): void => {
    const target = event.composedPath()[0];
    if (!(target instanceof Element) || !root.contains(target)) return;
    const theirs = event.ctrlKey || event.metaKey || event.altKey || (event.shiftKey && event.key === "Enter");
    // On the focused element itself: on one around it, it would be looked at too late.
    target.toggleAttribute("data-lm-suppress-shortcuts", !theirs);
  };
  // On the window and on the way in: Notebook 7 looks at keys on the document before they get here.
  window.addEventListener("keydown", onKey, true);
  return () => window.removeEventListener("keydown", onKey, true);
}
