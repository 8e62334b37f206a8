/** Sessions of onnxruntime: which runtime this machine gets, and why. */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../base/index.js";
import { createNativeRuntime } from "./native-runtime.js";
import { selfTest } from "./self-test.js";
import type { Runtime } from "./session.js";
import { createStockRuntime } from "./stock-runtime.js";

export { createNativeRuntime } from "./native-runtime.js";
export type { NamedTensors, Runtime, Session, SessionOptions } from "./session.js";
export { createStockRuntime } from "./stock-runtime.js";

export interface RuntimeChoice {
  /** "cpu" takes the stock binding whatever is installed. @default "native" */
  readonly prefer?: "native" | "cpu";
  /** Whether to use our own kernels. @default the environment's HONE_KERNELS is not "0" */
  readonly kernels?: boolean;
}

export interface ChosenRuntime extends Runtime {
  /** Why this one, for `hone doctor`. */
  readonly reason: string;
}

/** The fastest runtime that works here: own kernels, else stock operators without copies, else the JS binding. */
export async function createRuntime(choice: RuntimeChoice = {}): Promise<ChosenRuntime> {
  const { prefer = "native", kernels = process.env["HONE_KERNELS"] !== "0" } = choice;
  if (prefer === "cpu") return { ...(await createStockRuntime()), reason: "stock binding: asked for" };
  const refusals: string[] = [];
  const path = kernelLibraryPath();
  if (!kernels) refusals.push("kernels switched off");
  else if (!existsSync(path)) refusals.push("kernel library not built");
  else {
    const runtime = await attempt(() => createNativeRuntime({ kernelLibrary: path }), refusals);
    if (runtime !== undefined) return { ...runtime, reason: "own kernels: self-test passed" };
  }
  const runtime = await attempt(() => createNativeRuntime(), refusals);
  if (runtime !== undefined) return { ...runtime, reason: `stock operators: ${refusals.join("; ")}` };
  return { ...(await createStockRuntime()), reason: `stock binding: ${refusals.join("; ")}` };
}

/** Where `native/build.mjs` puts the kernels; the same file from `src` and from `dist`. */
export function kernelLibraryPath(): string {
  return fileURLToPath(new URL("../../../build/native/hone-kernels.so", import.meta.url));
}

async function attempt(create: () => Runtime, refusals: string[]): Promise<Runtime | undefined> {
  try {
    const runtime = create();
    await selfTest(runtime);
    return runtime;
  } catch (thrown) {
    refusals.push(messageOf(thrown));
    return undefined;
  }
}
