/** A run as a file of the browser's own: what the kernel wrote, or a picture of it. */

import { button } from "./dom";
import type { Choice, Menu } from "./menu";
import type { SavedFile, Store } from "./model";

export type FileKind = "png" | "svg" | "html" | "trace";

const SCALE = 2;
const KEPT_MS = 60_000;

/** What a run can be saved as; a saved page has no kernel that could write it again. */
function fileChoices(still: boolean): Choice[] {
  const all: [FileKind, string, string][] = [
    ["html", "Page", "interactive, opens without a kernel"],
    ["png", "Picture", "PNG"],
    ["svg", "Drawing", "SVG, for papers and slides"],
    ["trace", "Trace", "JSON, for ui.perfetto.dev"],
  ];
  const list = still ? all.filter(([kind]) => kind !== "html") : all;
  return list.map(([action, label, hint]) => ({ label, hint, action, enabled: true }));
}

/** What the kernel is asked for: a picture is drawn here, from its drawing. */
function sourceOf(kind: FileKind): "svg" | "trace" | "html" {
  return kind === "png" ? "svg" : kind;
}

/** The same in Python. */
function lineOf(kind: FileKind, run: number, name: string): string {
  return `runs[${run}].save_${kind}(${JSON.stringify(name)})`;
}

/** The button that opens the choice, and what follows from it. */
export class Saving {
  readonly root: HTMLButtonElement;
  /** The last question. */
  request = 0;
  private kind: FileKind = "svg";

  constructor(
    private readonly store: Store,
    private readonly menu: Menu,
    private readonly say: (told: string) => void,
  ) {
    this.root = button("cb-button cb-save", "Save as…", () => this.open());
    this.root.setAttribute("aria-haspopup", "menu");
  }

  async hear(file: SavedFile): Promise<void> {
    if (file.request !== this.request) return;
    const { kind } = this;
    try {
      const name = await download(kind, file);
      this.say(`The browser saves ${name}. In Python: ${lineOf(kind, this.store.header?.number ?? 0, name)}`);
    } catch (error) {
      this.say(`It cannot be saved here: ${error instanceof Error ? error.message : error}`);
    }
  }

  private open(): void {
    const list = fileChoices(this.store.snapshot?.still === true);
    const back = (): void => this.root.focus({ preventScroll: true });
    const choose = ({ action }: Choice): void => {
      this.kind = action as FileKind;
      this.request = this.store.command({ kind: "file", what: sourceOf(this.kind) });
    };
    this.menu.show("Save as", list, () => this.root.getBoundingClientRect(), choose, back);
  }
}

async function download(kind: FileKind, file: SavedFile): Promise<string> {
  const blob = kind === "png" ? await picture(file.text) : new Blob([file.text], { type: file.mime });
  const name = kind === "png" ? file.name.replace(/\.svg$/, ".png") : file.name;
  const url = URL.createObjectURL(blob);
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), KEPT_MS);
  return name;
}

/** Dots from a drawing. */
async function picture(svg: string): Promise<Blob> {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = image.naturalWidth * SCALE;
  canvas.height = image.naturalHeight * SCALE;
  const context = canvas.getContext("2d");
  if (!context) throw new Error("this browser draws no pictures");
  context.scale(SCALE, SCALE);
  context.drawImage(image, 0, 0);
  const blob = await new Promise<Blob | null>((done) => canvas.toBlob(done, "image/png"));
  if (!blob) throw new Error("the picture is too large for this browser");
  return blob;
}
