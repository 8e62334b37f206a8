#!/usr/bin/env node
/** The `hone` command. Loads commander and nothing else until it knows which command runs. */
import { EXIT, reportFailure } from "./exit.js";
import { createProgram } from "./program.js";

try {
  await createProgram().parseAsync(process.argv);
} catch (error) {
  process.exitCode = reportFailure(error, (text) => process.stderr.write(text));
  // A worker or a native thread may keep the process alive after a failure; nothing is left to wait for.
  if (process.exitCode !== EXIT.ok) process.exit();
}
