/** What `npm run build` and `prepare` do beside compiling, on a checkout of two files. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { isCurrent, linkCommand, removeStaleFiles, staleFiles } from "../tools/compile/dist-files.mjs";

let root: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "hone-build-"));
  write("tsconfig.json", "tsconfig.build.json");
  write("src/index.ts", "src/ambient.d.ts", "src/cli/main.ts", "src/cli/main.test.ts");
  write(...outputs("index"), ...outputs("cli/main"));
});
afterEach(() => rmSync(root, { recursive: true }));

const outputs = (name: string): string[] =>
  [".js", ".js.map", ".d.ts"].map((ending) => `dist/${name}${ending}`);
function write(...files: string[]): void {
  for (const file of files) {
    mkdirSync(dirname(join(root, file)), { recursive: true });
    writeFileSync(join(root, file), "");
    utimesSync(join(root, file), 1000, 1000);
  }
}
function stampAt(seconds: number): string {
  write("build/stamp");
  utimesSync(join(root, "build/stamp"), seconds, seconds);
  return join(root, "build/stamp");
}

it("removes outputs without a source, tests' among them, and nothing else", () => {
  write(...outputs("gone/deep/old"), ...outputs("cli/main.test"), "dist/cli/notes.json");
  expect(removeStaleFiles(root).sort()).toEqual(
    [...outputs("cli/main.test"), ...outputs("gone/deep/old")].map((file) => file.slice(5)).sort(),
  );
  expect(existsSync(join(root, "dist/gone"))).toBe(false);
  for (const kept of [...outputs("index"), ...outputs("cli/main"), "dist/cli/notes.json"]) {
    expect(existsSync(join(root, kept)), kept).toBe(true);
  }
  expect(staleFiles(root)).toEqual([]);
});

it.each<[boolean, string, (at: string) => void]>([
  [true, "nothing has changed", () => {}],
  [false, "a source is newer", () => utimesSync(join(root, "src/index.ts"), 3000, 3000)],
  [true, "a test is newer", () => utimesSync(join(root, "src/cli/main.test.ts"), 3000, 3000)],
  [false, "a setting of the compiler is newer", () => utimesSync(join(root, "tsconfig.json"), 3000, 3000)],
  [false, "a source is new, though old in years", () => write("src/cli/new.ts")],
  [false, "a source is gone", () => rmSync(join(root, "src/cli/main.ts"))],
  [false, "an output is gone", () => rmSync(join(root, "dist/index.d.ts"))],
  [false, "nothing was ever built", (stamp) => rmSync(stamp)],
])("says %s to whether dist is current when %s", (expected, _, change) => {
  const stamp = stampAt(2000);
  change(stamp);
  expect(isCurrent(root, stamp)).toBe(expected);
});

it("links the command as an installed package has it, over an older link and over no file", () => {
  const link = join(root, "node_modules/.bin/hone");
  linkCommand(root);
  expect(readlinkSync(link)).toBe("../../dist/cli/main.js");
  expect(statSync(link).mode & 0o111).toBe(0o111);
  rmSync(link);
  symlinkSync("../elsewhere", link);
  linkCommand(root);
  expect(readlinkSync(link)).toBe("../../dist/cli/main.js");
  rmSync(link);
  writeFileSync(link, "mine");
  linkCommand(root);
  expect(readFileSync(link, "utf8")).toBe("mine");
  rmSync(join(root, "dist"), { recursive: true });
  linkCommand(root);
});
