/** A handler that does what it is told, good or bad: the pool's tests run it. Plain JavaScript, for children cannot run TypeScript. */
import { pbkdf2Sync } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";

export default function createHandler(options) {
  if (options?.failure !== undefined) throw new Error(options.failure);
  const hoard = [];
  return async ({ act, value, phase }, { mark }) => {
    if (phase !== undefined) mark(phase);
    switch (act) {
      case "echo":
        return value;
      case "pid":
        return process.pid;
      case "environment":
        return process.env[value];
      case "sleep":
        return new Promise((resolve) => setTimeout(resolve, value, "slept"));
      case "stick": // minutes inside one native call
        return pbkdf2Sync("a", "b", 2 ** 31 - 1, 512, "sha512");
      case "abort":
        return process.abort();
      case "exit":
        return process.exit(value);
      case "abort once":
        if (existsSync(value)) return "second time";
        writeFileSync(value, "");
        return process.abort();
      case "hoard":
        for (;;) hoard.push(Buffer.alloc(2 ** 24, 1));
      case "phases":
        for (let next = 1; next <= value; next++) {
          mark(next);
          await new Promise((resolve) => setTimeout(resolve, 150));
        }
        return "all phases";
      default:
        throw new Error(`cannot ${act}`);
    }
  };
}
