import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import { CancelledError } from "../base/index.js";
import type { Action } from "./action.js";
import { Recipe } from "./recipe.js";
import { type RunRecipeOptions, runRecipe } from "./run-recipe.js";

/** A reference as recipes write it. */
const ref = (path: string): string => `\${${path}}`;

let output: string;
let done: string[];

/** Writes its text to a file, and says which step it was asked for. */
const write: Action = {
  version: 1,
  async run({ directory, arguments: given }) {
    done.push(String(given["text"]));
    writeFileSync(join(directory, "text"), String(given["text"]));
    return { file: join(directory, "text"), length: String(given["text"]).length };
  },
};
/** Joins the file of an earlier step and its own text. */
const append: Action = {
  version: 1,
  async run({ directory, arguments: given }) {
    const text = readFileSync(String(given["from"]), "utf8") + String(given["text"]);
    done.push(text);
    writeFileSync(join(directory, "text"), text);
    return { file: join(directory, "text") };
  },
};

const recipe = Recipe.parse({
  name: "words",
  settings: { first: "a", second: "b", third: "c" },
  quick: { first: "q" },
  steps: {
    one: { uses: "write", with: { text: ref("settings.first") } },
    two: { uses: "append", with: { from: ref("one.file"), text: ref("settings.second") } },
    three: {
      uses: "append",
      with: { from: ref("two.file"), text: `<${ref("settings.third")}:${ref("one.length")}>` },
    },
  },
});

function run(changes: Partial<RunRecipeOptions> = {}) {
  done = [];
  return runRecipe({
    ...{ recipe, path: "recipe.yaml", output, actions: { write, append }, codeVersion: "1" },
    ...{ clock: () => 0, now: () => new Date(0), signal: new AbortController().signal },
    ...changes,
  });
}

beforeEach(() => {
  output = mkdtempSync(join(tmpdir(), "hone-recipe-"));
});

it("does steps in order and fills references in; a number stays one where it stands alone", async () => {
  const { three } = await run();
  expect(done).toEqual(["a", "ab", "ab<c:1>"]);
  expect(readFileSync(String(three!["file"]), "utf8")).toBe("ab<c:1>");
});

it("a second time nothing is done; a changed setting redoes its step and those that build on it", async () => {
  await run();
  await run();
  expect(done).toEqual([]);
  await run({ settings: { second: "B" } });
  expect(done).toEqual(["aB", "aB<c:1>"]);
  // What was made before is still there: going back costs nothing.
  await run();
  expect(done).toEqual([]);
  await run({ isQuick: true });
  expect(done).toEqual(["q", "qb", "qb<c:1>"]);
  await run({ isQuick: true, settings: { first: "a" } });
  expect(done).toEqual([]);
});

it("until a step, and no further", async () => {
  expect(Object.keys(await run({ until: "two" }))).toEqual(["one", "two"]);
  await expect(run({ until: "four" })).rejects.toThrow("expected one of one, two, three");
});

it("a new version of the code or of an action does its steps again", async () => {
  await run();
  await run({ codeVersion: "2" });
  expect(done).toEqual(["a", "ab", "ab<c:1>"]);
  await run({ codeVersion: "2", actions: { write, append: { ...append, version: 2 } } });
  expect(done).toEqual(["ab", "ab<c:1>"]);
});

it("a step whose files are gone is done again, and so is one whose outside files have changed", async () => {
  const { two } = await run();
  rmSync(String(two!["file"]));
  await run();
  expect(done).toEqual(["ab"]);
  const outside = join(output, "outside");
  writeFileSync(outside, "x");
  const actions = { append, write: { ...write, files: () => [outside] } };
  await run({ actions });
  expect(done).toEqual(["a", "ab", "ab<c:1>"]);
  await run({ actions });
  expect(done).toEqual([]);
  writeFileSync(outside, "y");
  await run({ actions });
  expect(done).toEqual(["a", "ab", "ab<c:1>"]);
});

it("an interrupted step begins anew in an empty directory, or goes on where its action can", async () => {
  const seen: boolean[] = [];
  const failing = (resumes: boolean, fails: boolean): Action => ({
    version: 1,
    resumes,
    async run({ directory }) {
      seen.push(existsSync(join(directory, "half")));
      writeFileSync(join(directory, "half"), "");
      if (fails) throw new CancelledError("stopped");
      return {};
    },
  });
  const short = Recipe.parse({ name: "short", steps: { one: { uses: "act" } } });
  for (const resumes of [false, true]) {
    rmSync(join(output, "steps"), { recursive: true, force: true });
    seen.length = 0;
    const attempt = (fails: boolean) => run({ recipe: short, actions: { act: failing(resumes, fails) } });
    await expect(attempt(true)).rejects.toThrow("stopped");
    await attempt(false);
    await attempt(false);
    expect(seen).toEqual([false, resumes]);
  }
});

it("two processes on one recipe: the second is refused, and a lock whose process is gone is not", async () => {
  mkdirSync(output, { recursive: true });
  const lock = (pid: number): void =>
    writeFileSync(
      join(output, "lock"),
      JSON.stringify({ pid, processStart: null, host: hostname(), since: "2026-01-01" }),
    );
  lock(process.ppid);
  await expect(run()).rejects.toThrow(`process ${process.ppid} on ${hostname()} has been writing to it`);
  lock(2 ** 22 + 1);
  await run();
  expect(existsSync(join(output, "lock"))).toBe(false);
});

it("Ctrl-C between steps ends the recipe, and the next run goes on", async () => {
  const controller = new AbortController();
  const stopping: Action = {
    ...write,
    run: async (context) => {
      controller.abort();
      return write.run(context);
    },
  };
  await expect(run({ actions: { write: stopping, append }, signal: controller.signal })).rejects.toThrow(
    'Stopped before step "two"',
  );
  expect(done).toEqual(["a"]);
  await run();
  expect(done).toEqual(["ab", "ab<c:1>"]);
});

it.each([
  [{ uses: "fly" }, 'step "one" uses "fly", expected one of write, append'],
  [{ uses: "write", with: { text: ref("settings.frist") } }, "expected one of settings.first"],
  [
    { uses: "write", with: { text: ref("two.file") } },
    'refers to "two", expected settings or an earlier step (settings)',
  ],
])("refuses %j", async (step, message) => {
  const faulty = Recipe.parse({
    name: "faulty",
    settings: { first: 1 },
    steps: { one: step, two: { uses: "write" } },
  });
  await expect(run({ recipe: faulty })).rejects.toThrow(message);
});

it("a setting that the recipe does not have is refused, whoever names it", async () => {
  await expect(run({ settings: { fourth: 1 } })).rejects.toThrow(
    '--set names the setting "fourth", expected one of first, second, third',
  );
  const faulty = { ...recipe, quick: { fourth: 1 } };
  await expect(run({ recipe: faulty })).rejects.toThrow('quick names the setting "fourth"');
});
