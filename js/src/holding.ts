/** A finger that rests on a row opens it, as a click does. */

const HOLDS_MS = 500;
const MOVES_PX = 8;

export class Holding {
  private held: { id: number; x: number; y: number; timer: ReturnType<typeof setTimeout> } | null = null;
  private opened = false; // the finger is still there: what it does when it leaves is no click

  constructor(
    chart: HTMLElement,
    private readonly open: (row: number) => void,
  ) {
    chart.addEventListener("pointerdown", (e) => this.onDown(e));
    chart.addEventListener("pointermove", (e) => this.onMove(e));
    for (const end of ["pointerup", "pointercancel"] as const) chart.addEventListener(end, () => this.end());
    chart.addEventListener("click", (e) => this.swallow(e), true);
    // Else the browser makes a mouse of the finger that leaves, which takes the focus from what was opened.
    chart.addEventListener("touchend", (e) => this.opened && e.preventDefault());
    // The browser's own menu for a long press would lie over what it opens.
    chart.addEventListener("contextmenu", (e) => (this.held || this.opened) && e.preventDefault());
  }

  end(): void {
    if (this.held) clearTimeout(this.held.timer);
    this.held = null;
  }

  private onDown(event: PointerEvent): void {
    const second = this.held !== null;
    this.end();
    this.opened = false;
    const line = event.target instanceof Element ? event.target.closest(".cb-row") : null;
    const row = Number(line?.getAttribute("data-id") ?? -1);
    if (event.pointerType !== "touch" || second || row < 0) return;
    const timer = setTimeout(() => {
      this.held = null;
      this.opened = true;
      this.open(row);
    }, HOLDS_MS);
    this.held = { id: event.pointerId, x: event.clientX, y: event.clientY, timer };
  }

  private onMove(event: PointerEvent): void {
    const { held } = this;
    if (held?.id !== event.pointerId) return;
    if (Math.hypot(event.clientX - held.x, event.clientY - held.y) > MOVES_PX) this.end();
  }

  private swallow(event: Event): void {
    if (!this.opened) return;
    this.opened = false;
    event.stopImmediatePropagation();
  }
}
