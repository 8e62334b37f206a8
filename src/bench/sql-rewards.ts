/** `sql-rewards`: how many statements a second the text-to-SQL reward runs and compares, on Spider's dev questions. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { createSqlExecutor, type SqlExecutor } from "../envs/index.js";
import type { BenchContext, ClosableContender } from "./bench-context.js";
import { compare } from "./bench-context.js";
import type { BenchResult } from "./report.js";

const NAME = "sql-rewards";

interface Pair {
  readonly database: string;
  readonly sql: string;
}

/**
 * A turn asks for the reward of all 1034 gold statements given as answers: each is checked, run and its rows compared
 * with the gold rows. Gold results are remembered from the first, unrecorded turn, as in training, where a group of
 * answers shares them; what counts as an execution is a statement that SQLite ran in the turn, and nothing else.
 */
export async function sqlRewards(context: BenchContext): Promise<BenchResult[]> {
  const folder = resolve(
    process.env["HONE_DATA"] ?? resolve(import.meta.dirname, "../../../shared/data"),
    "spider",
  );
  if (!existsSync(join(folder, "dev_gold.sql"))) {
    context.note(`${NAME}: ${folder} is absent, so this is left out`);
    return [];
  }
  const pairs = goldPairs(join(folder, "dev_gold.sql"));
  const executor = createSqlExecutor({
    databases: (name) => join(folder, "database", name, `${name}.sqlite`),
    workers: context.threads,
    // What other programs do to the machine must not look like a slow statement.
    deadlineMs: 60_000,
  });
  const perTurn: number[] = [];
  const ours = await contender(executor, pairs, (executions) => perTurn.push(executions));
  const result = await compare(context, NAME, { ours, peer: null }, { warmUps: 2, repeats: 15 });
  // Turns differ by the gold results that a process met for the first time; the fewest executions are the least claim.
  return [{ ...result, perSecond: Math.min(...perTurn) / result.seconds! }]; // measured above, never null here
}

async function contender(
  executor: SqlExecutor,
  pairs: readonly Pair[],
  onTurn: (executions: number) => void,
): Promise<ClosableContender> {
  const seconds = async (): Promise<number> => {
    const startedMs = performance.now();
    const comparisons = await Promise.all(
      pairs.map(({ database, sql }) => executor.compare(database, { gold: sql, predicted: sql })),
    );
    const elapsed = (performance.now() - startedMs) / 1000;
    let executions = 0;
    for (const [i, comparison] of comparisons.entries()) {
      if (comparison.kind !== "compared" || !comparison.isMatch)
        throw new Error(`Cannot measure ${NAME}: "${pairs[i]!.sql}" does not match itself`);
      executions += comparison.executions;
    }
    onTurn(executions);
    return elapsed;
  };
  await seconds(); // starts the processes
  return {
    name: "hone",
    pids: [process.pid, ...executor.processIds()],
    seconds,
    close: () => executor.close(),
  };
}

function goldPairs(file: string): Pair[] {
  const lines = readFileSync(file, "utf8").trim().split("\n");
  return lines.map((line) => {
    const [sql, database] = line.split("\t");
    return { sql: sql!, database: database!.trim() };
  });
}
