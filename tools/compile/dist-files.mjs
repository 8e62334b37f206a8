// What dist/ should hold for the sources there are, what it holds besides, and whether it is older than they are.
// Takes the checkout's directory; knows nothing about compiling.
import { chmodSync, lstatSync, mkdirSync, readdirSync, readlinkSync, rmdirSync, rmSync, statSync, symlinkSync } from "node:fs";
import { dirname, join, relative } from "node:path";

const OUTPUTS = [".js", ".js.map", ".d.ts"];
/** As tsconfig.build.json leaves them out; declarations have no output. */
const LEFT_OUT = /\.(?:test|test-data|d)\.ts$/;

/** Sources of dist/, as paths below src/. */
function sourcesOf(root) {
  return filesBelow(join(root, "src")).filter((file) => file.endsWith(".ts") && !LEFT_OUT.test(file));
}

function filesBelow(directory) {
  try {
    return readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => relative(directory, join(entry.parentPath, entry.name)));
  } catch (thrown) {
    if (thrown.code === "ENOENT") return [];
    throw thrown;
  }
}

const expectedFiles = (root) =>
  new Set(sourcesOf(root).flatMap((file) => OUTPUTS.map((ending) => file.replace(/\.ts$/, ending))));

/** What the compiler once wrote for sources that are gone: a test or a process that loads it runs old code. */
export function staleFiles(root) {
  const expected = expectedFiles(root);
  return filesBelow(join(root, "dist")).filter(
    (file) => !expected.has(file) && /\.(?:js|d\.ts)(?:\.map)?$/.test(file),
  );
}

/** Deletes those alone, and directories they leave empty: a running process goes on loading the files that have a source. */
export function removeStaleFiles(root) {
  const stale = staleFiles(root);
  for (const file of stale) rmSync(join(root, "dist", file), { force: true });
  for (const file of stale) {
    for (let folder = dirname(file); folder !== "."; folder = dirname(folder)) {
      try {
        rmdirSync(join(root, "dist", folder));
      } catch {
        break; // it still holds something, or is gone
      }
    }
  }
  return stale;
}

/** Is there an output of every source, none besides, and a `stamp` no older than any source or setting of the compiler? */
export function isCurrent(root, stamp) {
  const built = timeOf(stamp);
  if (built === undefined) return false;
  const inputs = [
    ...sourcesOf(root).map((file) => join("src", file)),
    ...["tsconfig.json", "tsconfig.build.json"],
  ];
  const present = new Set(filesBelow(join(root, "dist")));
  return (
    inputs.every((file) => (timeOf(join(root, file)) ?? 0) < built) &&
    [...expectedFiles(root)].every((file) => present.has(file)) &&
    staleFiles(root).length === 0
  );
}

function timeOf(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs;
}

/** `node_modules/.bin/hone`, as an installed package would have it. Says nothing where links are not possible. */
export function linkCommand(root) {
  const [main, link] = [join(root, "dist/cli/main.js"), join(root, "node_modules/.bin/hone")];
  try {
    chmodSync(main, 0o755);
    const target = relative(dirname(link), main);
    const found = lstatSync(link, { throwIfNoEntry: false });
    if (found?.isSymbolicLink() && readlinkSync(link) === target) return;
    // Somebody else's file is left alone.
    if (found !== undefined && !found.isSymbolicLink()) return;
    rmSync(link, { force: true });
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(target, link);
  } catch {
    // Read-only checkouts and Windows without the right to link: `npx hone` works there all the same.
  }
}
