/**
 * The C API of onnxruntime through koffi: where the library lies, its function table, its errors.
 * The table is append-only, so a function is known by its place in it. Knows nothing about sessions.
 */
import { existsSync, readdirSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import koffi from "koffi";

/** An address in this process. */
export type Pointer = bigint;

/** What koffi takes where C takes an address: nothing, an address, or memory of our own. */
export type Address = Pointer | null | ArrayBufferView;

/** An `OrtStatus*`: null when all went well. */
type Status = Pointer | null;

/** The functions of `OrtApi` that we call. */
export interface OrtFunctions {
  createStatus(code: number, message: string): Pointer;
  getErrorMessage(status: Pointer): string;
  createEnv(level: number, logId: string, out: BigUint64Array): Status;
  createSessionFromArray(
    env: Pointer,
    model: Uint8Array,
    bytes: number,
    options: Pointer,
    out: BigUint64Array,
  ): Status;
  run(
    session: Pointer,
    options: null,
    inputNames: Address,
    inputs: Address,
    inputCount: number,
    outputNames: Address,
    outputCount: number,
    outputs: Address,
  ): Status;
  createSessionOptions(out: BigUint64Array): Status;
  disableMemPattern(options: Pointer): Status;
  setGraphOptimizationLevel(options: Pointer, level: number): Status;
  setIntraOpThreads(options: Pointer, threads: number): Status;
  setInterOpThreads(options: Pointer, threads: number): Status;
  sessionInputCount(session: Pointer, out: BigUint64Array): Status;
  sessionOutputCount(session: Pointer, out: BigUint64Array): Status;
  sessionInputName(session: Pointer, index: number, allocator: Pointer, out: BigUint64Array): Status;
  sessionOutputName(session: Pointer, index: number, allocator: Pointer, out: BigUint64Array): Status;
  createTensorWithData(
    memory: Pointer,
    data: Address,
    bytes: number,
    shape: BigInt64Array,
    rank: number,
    type: number,
    out: BigUint64Array,
  ): Status;
  createCpuMemoryInfo(allocatorType: number, memoryType: number, out: BigUint64Array): Status;
  allocatorFree(allocator: Pointer, memory: Pointer): Status;
  defaultAllocator(out: BigUint64Array): Status;
  addSessionConfigEntry(options: Pointer, key: string, value: string): Status;
  releaseStatus(status: Pointer): void;
  releaseSession(session: Pointer): void;
  releaseValue(value: Pointer): void;
  releaseSessionOptions(options: Pointer): void;
}

const P = "void *";
const STATUS = P;

/** Place in the table, result, arguments. Places: onnxruntime_c_api.h, struct OrtApi, in order of declaration. */
const TABLE: Readonly<Record<keyof OrtFunctions, readonly [number, string, readonly string[]]>> = {
  createStatus: [0, P, ["int", "str"]],
  getErrorMessage: [2, "str", [P]],
  createEnv: [3, STATUS, ["int", "str", P]],
  createSessionFromArray: [8, STATUS, [P, P, "size_t", P, P]],
  run: [9, STATUS, [P, P, P, P, "size_t", P, "size_t", P]],
  createSessionOptions: [10, STATUS, [P]],
  disableMemPattern: [17, STATUS, [P]],
  setGraphOptimizationLevel: [23, STATUS, [P, "int"]],
  setIntraOpThreads: [24, STATUS, [P, "int"]],
  setInterOpThreads: [25, STATUS, [P, "int"]],
  sessionInputCount: [30, STATUS, [P, P]],
  sessionOutputCount: [31, STATUS, [P, P]],
  sessionInputName: [36, STATUS, [P, "size_t", P, P]],
  sessionOutputName: [37, STATUS, [P, "size_t", P, P]],
  createTensorWithData: [49, STATUS, [P, P, "size_t", P, "size_t", "int", P]],
  createCpuMemoryInfo: [69, STATUS, ["int", "int", P]],
  allocatorFree: [76, STATUS, [P, P]],
  defaultAllocator: [78, STATUS, [P]],
  releaseStatus: [93, "void", [P]],
  releaseSession: [95, "void", [P]],
  releaseValue: [96, "void", [P]],
  releaseSessionOptions: [100, "void", [P]],
  addSessionConfigEntry: [130, STATUS, [P, "str", "str"]],
};

/** The version of the table we ask for; any library of this version or later answers it. */
const API_VERSION = 20;

export interface OrtApi extends OrtFunctions {
  /** `OrtApiBase*`, for libraries that register operators. */
  readonly base: Pointer;
  /** Throws the error that `status` carries, if any, after `action`: "Cannot create session". */
  check(status: Status, action: string): void;
}

/** Where onnxruntime-node keeps the library for this platform; undefined when it has none. */
export function findOrtLibrary(): string | undefined {
  const name =
    process.platform === "win32"
      ? "onnxruntime.dll"
      : process.platform === "darwin"
        ? "libonnxruntime.1.dylib"
        : "libonnxruntime.so.1";
  const bin = join(dirname(createRequire(import.meta.url).resolve("onnxruntime-node/package.json")), "bin");
  const versions = existsSync(bin) ? readdirSync(bin).filter((folder) => folder.startsWith("napi-")) : [];
  return versions
    .map((version) => join(bin, version, process.platform, process.arch, name))
    .find((path) => existsSync(path));
}

/** Loads the library at `path` and reads its function table. @throws when it is not an onnxruntime we know. */
export function loadOrtApi(path: string): OrtApi {
  const getApiBase = koffi.load(path).func("OrtGetApiBase", P, []);
  const base = pointerFrom(getApiBase());
  const getApi = koffi.decode(pointerAt(base, 0), koffi.proto(P, ["uint32_t"]));
  const table: unknown = getApi(API_VERSION);
  if (typeof table !== "bigint") {
    throw new Error(
      `Cannot use ${path}: it has no C API of version ${API_VERSION}, expected onnxruntime 1.20 or later`,
    );
  }
  const functions = Object.fromEntries(
    Object.entries(TABLE).map(([name, [place, result, args]]) => [
      name,
      koffi.decode(pointerAt(table, place), koffi.proto(result, [...args])),
    ]),
    // koffi's functions are untyped; TABLE gives each the C signature that OrtFunctions states.
  ) as unknown as OrtFunctions;
  const check = (status: Status, action: string): void => {
    if (status === null) return;
    const message = functions.getErrorMessage(status);
    functions.releaseStatus(status);
    throw new Error(`${action}: ${message.trim()}`);
  };
  return { ...functions, base, check };
}

/** The string at `address`, and the memory given back to `allocator`. */
export function takeString(ort: OrtApi, allocator: Pointer, address: Pointer): string {
  const text = koffi.decode.string(address);
  ort.check(ort.allocatorFree(allocator, address), "Cannot free a name");
  return text;
}

function pointerAt(table: Pointer, place: number): Pointer {
  return BigInt(koffi.decode.uint64(table + BigInt(8 * place)));
}

function pointerFrom(value: unknown): Pointer {
  if (typeof value === "bigint") return value;
  throw new Error(`internal: koffi answered ${String(value)} for a pointer`);
}
