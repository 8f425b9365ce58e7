// The style sheets as text.
import { readFileSync } from "node:fs";

export const style = (part) => readFileSync(new URL(`../src/css/${part}.css`, import.meta.url), "utf8");
