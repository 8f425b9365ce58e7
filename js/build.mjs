// One ES module and one style sheet, the same bytes on every machine: CI builds again and compares.
import { mkdir, readdir, readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = fileURLToPath(new URL("../cerebelum_nb/notebook/static/", import.meta.url));

await mkdir(out, { recursive: true });
await build({
  absWorkingDir: here,
  entryPoints: ["src/index.ts"],
  outfile: `${out}widget.js`,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2022",
  charset: "utf8",
  legalComments: "none",
});
const parts = (await readdir(`${here}src/css`)).sort(); // base first: the others build on it
const styles = await Promise.all(parts.map((part) => readFile(`${here}src/css/${part}`, "utf8")));
await writeFile(`${out}widget.css`, styles.join("\n"));
