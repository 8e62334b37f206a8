/**
 * onnxruntime through its C API: no copies, no JS binding, and our own operators when their library is there.
 * Lowering "native" with that library, "cpu" without it.
 */
import { availableParallelism } from "node:os";
import koffi from "koffi";
import { NativeSession, type OrtContext } from "./native-session.js";
import { findOrtLibrary, loadOrtApi, type OrtApi, type Pointer } from "./ort-api.js";
import type { Runtime, Session, SessionOptions } from "./session.js";

export interface NativeRuntimeOptions {
  /** The kernel library (`native/build.mjs` makes it); undefined runs stock operators only. */
  readonly kernelLibrary?: string | undefined;
}

/** `OrtLoggingLevel`: what ends the process. Errors reach the caller as exceptions; the rest is noise to a user. */
const LOG_FATAL = 4;
/** `ORT_ENABLE_ALL`. */
const ALL_OPTIMIZATIONS = 99;

/** @throws when onnxruntime's library or the kernel library cannot be loaded. */
export function createNativeRuntime({ kernelLibrary }: NativeRuntimeOptions = {}): Runtime {
  const path = findOrtLibrary();
  if (path === undefined) {
    throw new Error(
      `Cannot load onnxruntime: onnxruntime-node has no library for ${process.platform} ${process.arch}`,
    );
  }
  const ort = loadOrtApi(path);
  const out = new BigUint64Array(1);
  const made = (status: Pointer | null): Pointer => {
    ort.check(status, "Cannot start onnxruntime");
    return out[0]!;
  };
  const context: OrtContext = {
    ort,
    // One environment serves the whole process and is never released: sessions of other threads may use it.
    env: made(ort.createEnv(LOG_FATAL, "hone", out)),
    allocator: made(ort.defaultAllocator(out)),
    cpuMemory: made(ort.createCpuMemoryInfo(0, 0, out)),
  };
  const registerOps = kernelLibrary === undefined ? undefined : loadKernels(kernelLibrary);
  return {
    lowering: registerOps === undefined ? "cpu" : "native",
    createSession: async (model, options = {}) => createSession(context, model, options, registerOps),
  };
}

type RegisterOps = (options: Pointer, api: Pointer) => Pointer | null;

/** Every library of operators exports `RegisterCustomOps`, the name that onnxruntime itself looks for. */
function loadKernels(path: string): RegisterOps {
  const register = koffi.load(path).func("RegisterCustomOps", "void *", ["void *", "void *"]);
  return (options, api) => register(options, api);
}

function createSession(
  context: OrtContext,
  model: Uint8Array,
  options: SessionOptions,
  registerOps: RegisterOps | undefined,
): Session {
  const { ort, env } = context;
  const out = new BigUint64Array(1);
  ort.check(ort.createSessionOptions(out), "Cannot create session");
  const settings = out[0]!;
  try {
    applyOptions(ort, settings, options);
    if (registerOps !== undefined) {
      ort.check(registerOps(settings, ort.base), "Cannot register the kernel library");
    }
    const status = ort.createSessionFromArray(env, model, model.byteLength, settings, out);
    ort.check(status, "Cannot create session");
  } finally {
    ort.releaseSessionOptions(settings);
  }
  return new NativeSession(context, out[0]!);
}

function applyOptions(ort: OrtApi, settings: Pointer, options: SessionOptions): void {
  const threads = options.threads ?? availableParallelism();
  const entries: readonly (readonly [string, string])[] = [
    // Spinning gains 2 % on an idle machine and costs a core on a busy one.
    // A step is hundreds of operators: waking a sleeping thread for each costs 3 % of it. Between runs nothing spins.
    ["session.intra_op.allow_spinning", "1"],
    ["session.force_spinning_stop", "1"],
    // Weights are inputs: there is nothing to pack ahead.
    ["session.disable_prepacking", "1"],
    // Read by the kernels (native/ort_ops.c), which otherwise cannot know the size of the pool.
    ["hone.threads", String(threads)],
    // native/hone.h: HONE_FEW_ROWS and HONE_MANY_ROWS.
    [
      "hone.batch_invariant",
      { none: "0", "few rows": "1", "many rows": "2" }[options.batchInvariant ?? "none"],
    ],
    ...(options.keepDuplicates === true
      ? ([["optimization.disable_specified_optimizers", "CommonSubexpressionElimination"]] as const)
      : []),
  ];
  if (options.planMemory !== true) {
    ort.check(ort.disableMemPattern(settings), "Cannot switch memory patterns off");
  }
  ort.check(ort.setIntraOpThreads(settings, threads), "Cannot set threads");
  ort.check(ort.setInterOpThreads(settings, 1), "Cannot set threads");
  ort.check(ort.setGraphOptimizationLevel(settings, ALL_OPTIMIZATIONS), "Cannot set optimisation level");
  for (const [key, value] of entries) {
    ort.check(ort.addSessionConfigEntry(settings, key, value), `Cannot set session option "${key}"`);
  }
}
