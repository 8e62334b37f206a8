/**
 * Our side of the SFT comparison, exactly as a user has it: `hone train sft -c FILE` in a process of its own, from
 * starting Node to the last checkpoint on disk.
 */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { ClosableContender } from "./bench-context.js";
import type { SftJob } from "./sft-job.js";

export function honeSft(job: SftJob, threads: number): ClosableContender {
  return {
    name: "hone train sft",
    // Children that have ended are part of this process's own account.
    pids: [process.pid],
    seconds: async () => {
      const project = mkdtempSync(join(job.modelDirectory, "project-"));
      const configPath = join(project, "sft.yaml");
      writeFileSync(configPath, JSON.stringify(configOf(job, project, threads))); // JSON is YAML
      const start = performance.now();
      await runHone(["train", "sft", "-c", configPath], project);
      const seconds = (performance.now() - start) / 1000;
      rmSync(project, { recursive: true });
      return seconds;
    },
    close: async () => undefined,
  };
}

/** The same training that tools/peers/trl_sft.py does; what is not named has TRL's default on both sides. */
function configOf(job: SftJob, project: string, threads: number): Record<string, unknown> {
  return {
    ...{ model: job.modelDirectory, output: project, data: { train: job.dataFile } },
    ...{ batchSize: job.batchSize, maxLength: job.maxLength, maxSteps: job.steps, epochs: 1 },
    ...{ learningRate: 1e-4, evalEvery: 0, saveEvery: 0, threads },
  };
}

async function runHone(commandLine: readonly string[], cwd: string): Promise<void> {
  const main = fileURLToPath(new URL("../cli/main.js", import.meta.url));
  const child = spawn(process.execPath, [main, ...commandLine], { cwd, stdio: ["ignore", "ignore", "pipe"] });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(-2000);
  });
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject).once("close", resolve);
  });
  if (code !== 0)
    throw new Error(`Cannot measure "hone ${commandLine.join(" ")}": exit code ${code}\n${errors}`);
}
