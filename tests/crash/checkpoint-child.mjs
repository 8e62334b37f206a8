/**
 * A run of three steps that a file operation may kill. First it brings the project it is given to its end, then it
 * begins a new one and is killed at operation `crashAt` of it.
 * Arguments: PROJECT_TO_FINISH or "-", PROJECT_TO_BEGIN or "-", CRASH_AT.
 */
import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { nodeDisk } from "../../dist/runs/disk.js";
import { openRunStore } from "../../dist/runs/index.js";

const STEPS = 3;
const SCORES = [0, 3, 1, 2];
const [finish, begin, crashAt] = process.argv.slice(2);

if (finish !== "-") await train(finish, countingDisk(Number.POSITIVE_INFINITY));
if (begin !== "-") {
  const disk = countingDisk(Number(crashAt));
  await train(begin, disk);
  console.log(JSON.stringify({ operations: disk.count() }));
}

async function train(project, disk) {
  const store = openRunStore(project, { disk, now: disk.now });
  const known = store.runs().find(({ status }) => status === "running");
  const run = known
    ? store.resumeRun(known.id)
    : store.createRun({ method: "sft", config: { steps: STEPS }, seed: 1, versions: {}, dataHashes: {} });
  const checkpoint = run.latestCheckpoint();
  let state = checkpoint ? readFileSync(join(checkpoint.directory, "state/weights.bin"), "utf8") : "start";
  for (let step = (checkpoint?.step ?? 0) + 1; step <= STEPS; step++) {
    state = createHash("sha256").update(`${state} ${step}`).digest("hex");
    run.logMetrics(
      step,
      { "loss/nll": Number.parseInt(state.slice(0, 12), 16) },
      { "time/step": performance.now() },
    );
    const write = async (directory) => {
      disk.makeDirectory(join(directory, "state"));
      disk.writeFile(join(directory, "state/weights.bin"), state);
      disk.writeFile(join(directory, "trainer.json"), JSON.stringify({ step }));
    };
    await run.saveCheckpoint(step, write, { score: SCORES[step] });
  }
  run.close("finished");
  store.close();
}

/** Kills this process before operation `crashAt`, or half-way through it where that operation writes a file. */
function countingDisk(crashAt) {
  let count = 0;
  const reached = () => ++count === crashAt;
  const die = () => process.kill(process.pid, "SIGKILL");
  const now = () => {
    if (reached()) die();
    return new Date();
  };
  const counted = { count: () => count, now };
  for (const [name, operation] of Object.entries(nodeDisk)) {
    counted[name] = (...args) => {
      if (reached()) {
        if (name === "writeFile") writeFileSync(args[0], args[1].slice(0, args[1].length / 2));
        die();
      }
      operation(...args);
    };
  }
  return counted;
}
