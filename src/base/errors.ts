/**
 * The kinds of failure, told apart by what happens next (docs/architecture.md, "Errors").
 * Anything thrown that is not one of these is our bug, and its message starts with `internal:`.
 */

/** Config, data or arguments are wrong: the CLI prints the message alone and exits with 2. */
export class UserError extends Error {
  override name = "UserError";
}

/** Where a rollout failed; recorded on its trajectory, never turned into a reward. */
export type RolloutBoundary = "policy" | "env" | "reward" | "sandbox" | "tool";

/** A rollout that failed at a named boundary; its siblings go on. */
export class RolloutError extends Error {
  override name = "RolloutError";
  constructor(
    readonly boundary: RolloutBoundary,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** A request the server refuses, with its HTTP status and the Tinker error category. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
  constructor(
    readonly status: number,
    readonly category: "user" | "server" | "unknown",
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The caller's `AbortSignal` stopped the work; nothing is broken. */
export class CancelledError extends Error {
  override name = "CancelledError";
}

/** The message of anything thrown, with its chain of causes. */
export function messageOf(thrown: unknown): string {
  if (!(thrown instanceof Error)) return String(thrown);
  return thrown.cause === undefined
    ? thrown.message
    : `${thrown.message} (cause: ${messageOf(thrown.cause)})`;
}
