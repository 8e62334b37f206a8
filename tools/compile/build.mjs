// Compiles src/ to dist/, removes what has no source any more, builds the optional kernels and links the command.
// With --if-stale it compiles only where sources are newer than the last build: npm's `prepare` runs also on the first
// `npx hone` in a clone, which would otherwise wait for the compiler again.
// Usage: node tools/compile/build.mjs [--if-stale]
import { spawnSync } from "node:child_process";
import { mkdirSync, utimesSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { isCurrent, linkCommand, removeStaleFiles } from "./dist-files.mjs";

const root = join(import.meta.dirname, "../..");
const stamp = join(root, "build/dist.stamp");

function run(...command) {
  const { status, error } = spawnSync(process.execPath, command, { cwd: root, stdio: "inherit" });
  if (error !== undefined) throw error;
  if (status !== 0) process.exit(status ?? 1);
}

if (!process.argv.includes("--if-stale") || !isCurrent(root, stamp)) {
  // The time before the compiler reads: what is edited meanwhile counts as newer.
  const started = new Date();
  run(createRequire(import.meta.url).resolve("typescript/bin/tsc"), "-p", "tsconfig.build.json");
  const stale = removeStaleFiles(root);
  if (stale.length > 0) console.log(`hone: removed ${stale.length} files of dist without a source`);
  mkdirSync(join(root, "build"), { recursive: true });
  writeFileSync(stamp, "");
  utimesSync(stamp, started, started);
}
run(join(root, "native/build.mjs"));
linkCommand(root);
