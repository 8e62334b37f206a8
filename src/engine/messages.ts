/** What the client and its worker say to each other, and how errors keep their kind on the way. */
import { CancelledError, UserError } from "../base/index.js";
import type { EngineInfo } from "./training-engine.js";

/** The calls that cross to the worker, by name, with their arguments. */
export type EngineMethod =
  | "forward"
  | "forwardBackward"
  | "optimStep"
  | "saveState"
  | "loadState"
  | "saveWeights"
  | "loadWeights"
  | "nextLogits"
  | "close";

export interface Request {
  readonly id: number;
  readonly method: EngineMethod;
  readonly arguments: readonly unknown[];
  /** One int32 that becomes 1 when the call is cancelled: seen even while the worker computes. */
  readonly cancelled: SharedArrayBuffer;
}

export type Response =
  | { readonly ready: EngineInfo }
  | { readonly id: number; readonly result: unknown }
  | { readonly id: number | null; readonly error: PlainError };

export interface PlainError {
  readonly name: string;
  readonly message: string;
  readonly stack: string | undefined;
  readonly cause: PlainError | null;
}

export function toPlainError(thrown: unknown): PlainError {
  if (!(thrown instanceof Error))
    return { name: "Error", message: String(thrown), stack: undefined, cause: null };
  const { name, message, stack, cause } = thrown;
  return { name, message, stack, cause: cause === undefined ? null : toPlainError(cause) };
}

export function fromPlainError({ name, message, stack, cause }: PlainError): Error {
  const options = cause === null ? {} : { cause: fromPlainError(cause) };
  const Kind = name === "UserError" ? UserError : name === "CancelledError" ? CancelledError : Error;
  const error = new Kind(message, options);
  if (stack !== undefined) error.stack = stack;
  return error;
}
