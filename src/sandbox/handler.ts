/** What a pool's module must look like, and what came of a job. */

/** Given to a handler with each job. */
export interface JobContext {
  /**
   * Starts a phase, with a deadline of its own. A handler marks where its own preparations end and somebody else's
   * code begins: a timeout or crash tells in which phase it happened. A job begins in phase 0.
   */
  mark(phase: number): void;
  /** 1, or 2 when a child died at the first attempt. */
  readonly attempt: number;
}

export type Handler<Request, Response> = (
  request: Request,
  context: JobContext,
) => Response | Promise<Response>;

/** The default export of a pool's module: called once in every child, with the pool's `options`. */
export type CreateHandler<Options, Request, Response> = (
  options: Options,
) => Handler<Request, Response> | Promise<Handler<Request, Response>>;

export type JobOutcome<Response> =
  | { readonly kind: "done"; readonly response: Response }
  /** A phase ran past its deadline; the child was killed. */
  | { readonly kind: "timeout"; readonly phase: number; readonly message: string }
  /** The child used more memory than it may; it was killed or died. */
  | { readonly kind: "memory"; readonly phase: number; readonly message: string }
  /** The child died at this job, and another one did so again. */
  | { readonly kind: "crash"; readonly phase: number; readonly message: string }
  /** The handler threw: neither deadline nor memory, most likely our bug. */
  | { readonly kind: "error"; readonly message: string };
