/** Running what cannot be trusted to end: child processes with deadlines. */
export type { CreateHandler, Handler, JobContext, JobOutcome } from "./handler.js";
export { createPool, type Pool, type PoolOptions, type RunOptions } from "./pool.js";
