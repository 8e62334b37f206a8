/** What a pool and its child processes say to each other. Knows neither the jobs nor how they are shared out. */

/** Exit code of a child that could not load its handler; the reason is on standard error. */
export const CANNOT_LOAD = 86;

/** File descriptor of the ledger in a child: after stdin, stdout, stderr and the message channel. */
export const LEDGER_DESCRIPTOR = 4;

export interface JobMessage {
  readonly id: number;
  readonly request: unknown;
  readonly attempt: number;
}

export type ToChild = { readonly options: unknown } | { readonly jobs: readonly JobMessage[] };

export type JobResult =
  | { readonly id: number; readonly response: unknown }
  /** The handler threw. */
  | { readonly id: number; readonly error: string };

export type FromChild =
  | { readonly ready: true }
  /** `busyMs` is the time the child spent on these jobs. */
  | { readonly results: readonly JobResult[]; readonly busyMs: number };
