/** A program that makes a pool, prints the process id of its only child, and leaves that child as asked: "stuck", "idle" or "closed". */
import { createPool } from "../../dist/sandbox/index.js";

const pool = createPool({
  module: new URL("./misbehave.mjs", import.meta.url),
  size: 1,
  deadlineMs: 600_000,
});
const { response } = await pool.run({ act: "pid" });
if (process.argv[2] === "stuck") void pool.run({ act: "stick" });
if (process.argv[2] === "closed") {
  await new Promise((resolve) => setTimeout(resolve, 50)); // nothing but close() is left to wait for
  await pool.close();
}
// The job needs a moment to begin; the line tells the test to go ahead.
setTimeout(() => console.log(response), process.argv[2] === "stuck" ? 300 : 0);
