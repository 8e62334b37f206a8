/** What a client and its worker say to each other, and how errors keep their kind on the way. */
import { CancelledError, UserError } from "../base/index.js";

/** A call that crosses to the worker, by the name of the method. */
export interface Request {
  readonly id: number;
  readonly method: string;
  readonly arguments: readonly unknown[];
  /**
   * int32 flags, seen even while the worker computes. The first becomes 1 when the call is cancelled; what the others
   * mean is the method's own matter.
   */
  readonly control: SharedArrayBuffer;
}

export type Response<Info> =
  | { readonly ready: Info }
  /** Something that happened during a call, for methods that tell. */
  | { readonly id: number; readonly event: unknown }
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
