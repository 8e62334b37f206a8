/** What must be known to repeat a run: the versions of the program and its dependencies, and the commit it ran from. */
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { z } from "zod";

export interface Provenance {
  readonly versions: Readonly<Record<string, string>>;
  /** The commit of the project's checkout, with `-dirty` when files differ from it; undefined outside git. */
  readonly gitCommit: string | undefined;
}

const PackageFile = z.object({
  version: z.string(),
  dependencies: z.record(z.string(), z.string()).default({}),
});

/** Versions of Node, Hone and Hone's dependencies as installed, and the git commit of `projectDirectory`. */
export function readProvenance(projectDirectory: string): Provenance {
  const own = PackageFile.parse(
    JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")),
  );
  const require = createRequire(import.meta.url);
  const versions: Record<string, string> = { node: process.versions.node, "hone-ai": own.version };
  for (const name of Object.keys(own.dependencies).sort()) {
    const version = installedVersion(require, name);
    if (version !== undefined) versions[name] = version;
  }
  return { versions, gitCommit: gitCommit(projectDirectory) };
}

/** Walks `node_modules` as Node does; a package may hide its package.json from `require`. */
function installedVersion(require: NodeJS.Require, name: string): string | undefined {
  for (const directory of require.resolve.paths(name) ?? []) {
    try {
      return PackageFile.parse(JSON.parse(readFileSync(`${directory}/${name}/package.json`, "utf8"))).version;
    } catch {}
  }
  return undefined;
}

function gitCommit(directory: string): string | undefined {
  const git = (...args: string[]): string =>
    execFileSync("git", ["-C", directory, ...args], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    }).trim();
  try {
    const commit = git("rev-parse", "HEAD");
    return git("status", "--porcelain", "--untracked-files=no") === "" ? commit : `${commit}-dirty`;
  } catch {
    return undefined;
  }
}
