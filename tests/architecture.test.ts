/** The walls of the house: who may import whom, no cycles, no long files, no names that say nothing. */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { expect, it } from "vitest";

const root = resolve(import.meta.dirname, "../src");

/** `*` may import any room. `base` is open to all and is left out of the lists. */
const MAY_IMPORT: Record<string, readonly string[]> = {
  base: [],
  protocol: [],
  tensor: [],
  graph: ["tensor"],
  nn: ["graph", "tensor"],
  losses: ["graph", "protocol"],
  engine: ["protocol", "tensor", "graph", "nn", "losses"],
  text: ["protocol"],
  runs: ["protocol"],
  datasets: ["protocol", "text", "runs"],
  sandbox: [],
  rewards: [],
  envs: ["protocol", "text", "rewards", "sandbox"],
  rollouts: ["protocol", "text", "envs", "rewards"],
  algorithms: ["protocol"],
  training: ["protocol", "text", "datasets", "runs", "envs", "rewards", "rollouts", "algorithms"],
  evals: ["protocol", "text", "envs", "rewards", "rollouts", "runs"],
  pipeline: ["protocol", "text", "datasets", "training", "envs", "evals", "rollouts", "runs"],
  cli: ["*"],
  bench: ["*"],
};

const MAX_LINES = 500;
const EMPTY_NAMES = /(utils?|helpers?|common|misc)\.ts$/;

const files = readdirSync(root, { recursive: true, encoding: "utf8" }).filter((file) => file.endsWith(".ts"));
const sources = files.filter((file) => !file.endsWith(".test.ts"));
const roomOf = (file: string): string => (file.includes("/") ? file.split("/")[0]! : "index");

function importsOf(file: string, includeTypes: boolean): string[] {
  const text = readFileSync(join(root, file), "utf8");
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s+(type\s+)?(?:[^;'"]*?\sfrom\s+)?["'](\.[^"']+)["']|import\(["'](\.[^"']+)["']\)/g;
  return [...text.matchAll(pattern)]
    .filter((match) => includeTypes || match[1] === undefined)
    .map((match) =>
      relative(root, resolve(root, dirname(file), (match[2] ?? match[3])!)).replace(/\.js$/, ".ts"),
    );
}

it("rooms import only the rooms their row allows, and only through the other room's index.ts", () => {
  const violations: string[] = [];
  for (const file of files.filter((file) => roomOf(file) !== "index")) {
    const room = roomOf(file);
    const allowed = MAY_IMPORT[room];
    if (allowed === undefined) {
      violations.push(`${file}: room "${room}" has no row in MAY_IMPORT`);
      continue;
    }
    for (const target of importsOf(file, true)) {
      const other = roomOf(target);
      if (other === room) continue;
      if (other !== "base" && !allowed.includes("*") && !allowed.includes(other)) {
        violations.push(`${file}: ${room} may not import ${other}, only ${["base", ...allowed].join(", ")}`);
      }
      if (target !== `${other}/index.ts`)
        violations.push(`${file}: enters ${other} by ${target}, expected ${other}/index.ts`);
    }
  }
  expect(violations).toEqual([]);
});

it("no value imports form a cycle", () => {
  const done = new Set<string>();
  const cycles: string[] = [];
  const visit = (file: string, path: readonly string[]): void => {
    if (path.includes(file)) {
      cycles.push([...path.slice(path.indexOf(file)), file].join(" -> "));
      return;
    }
    if (done.has(file) || !sources.includes(file)) return;
    for (const target of importsOf(file, false)) visit(target, [...path, file]);
    done.add(file);
  };
  for (const file of sources) visit(file, []);
  expect(cycles).toEqual([]);
});

it("no source file is longer than 500 lines", () => {
  const long = sources
    .map((file) => ({ file, lines: readFileSync(join(root, file), "utf8").split("\n").length - 1 }))
    .filter(({ lines }) => lines > MAX_LINES);
  expect(long).toEqual([]);
});

it("no file name ends in utils, helpers, common or misc", () => {
  expect(files.filter((file) => EMPTY_NAMES.test(file))).toEqual([]);
});
