/**
 * The worker's end: calls run one after the other in the order in which they came, except that neighbours which may
 * overlap run together. So every sample sees one set of weights, and a training call waits until samples have ended.
 */
import type { MessagePort } from "node:worker_threads";
import { CancelledError } from "../base/index.js";
import { type Request, type Response, toPlainError } from "./messages.js";

export interface CallContext {
  readonly isCancelled: () => boolean;
  /** Flag `index` of the request's control block. */
  readonly flag: (index: number) => boolean;
  readonly tell: (event: unknown) => void;
}

export interface Service<Info> {
  readonly info: Info;
  readonly call: (request: Request, context: CallContext) => unknown;
  readonly mayOverlap: (method: string) => boolean;
}

/** Answers requests of `port` until "close" has been answered; says so when the service cannot be made. */
export async function serve<Info>(
  port: MessagePort | null,
  create: () => Promise<Service<Info>>,
): Promise<void> {
  if (port === null) throw new Error("internal: a worker was started as a program, expected a worker thread");
  const answer = (response: Response<Info>): void => port.postMessage(response);
  try {
    const service = await create();
    /** Ends when the last exclusive call has. */
    let exclusive: Promise<unknown> = Promise.resolve();
    /** Overlapping calls that have not ended. */
    const overlapping = new Set<Promise<void>>();
    port.on("message", (request: Request) => {
      const { id, control, method } = request;
      const flags = new Int32Array(control);
      const flag = (index: number): boolean => Atomics.load(flags, index) === 1;
      const isCancelled = (): boolean => flag(0);
      const run = async (): Promise<void> => {
        try {
          if (isCancelled()) throw new CancelledError(`Cancelled before ${method}`);
          const tell = (event: unknown): void => answer({ id, event });
          answer({ id, result: await service.call(request, { isCancelled, flag, tell }) });
        } catch (thrown) {
          answer({ id, error: toPlainError(thrown) });
        }
        if (method === "close") port.close();
      };
      if (service.mayOverlap(method)) {
        const running = exclusive.then(run);
        overlapping.add(running);
        void running.then(() => overlapping.delete(running));
      } else exclusive = Promise.all([exclusive, ...overlapping]).then(run);
    });
    answer({ ready: service.info });
  } catch (thrown) {
    answer({ id: null, error: toPlainError(thrown) });
  }
}
