/**
 * Thread of a child that ends the process when its parent is gone. The main thread would notice its closed channel,
 * but not while it is stuck inside native code.
 */
import { workerData } from "node:worker_threads";

const { parent, everyMs } = workerData as { readonly parent: number; readonly everyMs: number }; // set by child.ts

setInterval(() => {
  if (!isAlive()) process.kill(process.pid, "SIGKILL");
}, everyMs);

function isAlive(): boolean {
  if (process.platform !== "win32") return process.ppid === parent;
  try {
    return process.kill(parent, 0);
  } catch {
    return false;
  }
}
