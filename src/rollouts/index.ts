/** Runs policies in environments and keeps what happened as tokens. */
export type { Trajectory, TrajectoryGroup, Turn } from "./trajectory.js";
