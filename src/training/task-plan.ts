/**
 * Which tasks make which step. The order is a function of seed and place, and the place a few numbers, so a resumed
 * run draws the tasks that an uninterrupted one would have drawn. Knows tags, and nothing of what a task asks.
 */
import { z } from "zod";
import { Random, UserError } from "../base/index.js";
import { epochOrder } from "../datasets/index.js";
import type { EnvTask } from "../envs/index.js";

/** The place in each level's own order of tasks, and how many tasks were drawn in all. */
export const TaskCursor = z.strictObject({
  draws: z.int().nonnegative(),
  levels: z.record(z.string(), z.strictObject({ epoch: z.int(), position: z.int() })),
});
export type TaskCursor = z.infer<typeof TaskCursor>;

export const FIRST_TASK: TaskCursor = { draws: 0, levels: {} };

export interface Curriculum {
  /** Tag of the tasks that says their level. */
  readonly tag: string;
  /** Its values, from the one to begin with to the last. */
  readonly order: readonly string[];
  /** Share of the run after which every level is open; levels open one after the other until then. */
  readonly openBy: number;
}

export interface TaskDraw {
  readonly tasks: readonly EnvTask[];
  readonly next: TaskCursor;
}

export interface TaskPlan {
  /** The next `count` tasks from `cursor`; `progress` is the share of the run that is done. */
  draw(cursor: TaskCursor, count: number, progress: number): TaskDraw;
}

/**
 * Tasks in seeded order, all of them once before any comes again. With a curriculum, each draw first takes one of the
 * open levels, by its number of tasks, and then the next task of it.
 *
 *     level i of L is open from progress i/(L−1) · openBy on
 */
export function createTaskPlan({
  tasks,
  seed,
  curriculum,
}: {
  readonly tasks: readonly EnvTask[];
  readonly seed: number;
  readonly curriculum?: Curriculum | undefined;
}): TaskPlan {
  if (tasks.length === 0) throw new UserError("Cannot plan tasks: there are none, expected at least one");
  const levels = curriculum === undefined ? [{ name: "all", tasks }] : levelsOf(tasks, curriculum);
  const random = new Random(seed);
  const orders = new Map<string, readonly number[]>();
  const orderOf = (level: string, size: number, epoch: number): readonly number[] => {
    const key = `${level} ${epoch}`;
    let order = orders.get(key);
    if (order === undefined) {
      order = epochOrder(size, random.fork(`level ${level}`).uint32(), epoch);
      orders.set(key, order);
    }
    return order;
  };
  const drawOne = (cursor: TaskCursor, progress: number): { task: EnvTask; next: TaskCursor } => {
    const open = levels.filter((_, i) => i === 0 || progress >= opensAt(i, levels.length, curriculum));
    const total = open.reduce((sum, level) => sum + level.tasks.length, 0);
    let ticket = random.fork(`draw ${cursor.draws}`).integer(total);
    const level = open.find((one) => (ticket -= one.tasks.length) < 0)!;
    const { epoch, position } = cursor.levels[level.name] ?? { epoch: 0, position: 0 };
    const isLast = position + 1 === level.tasks.length;
    return {
      task: level.tasks[orderOf(level.name, level.tasks.length, epoch)[position]!]!,
      next: {
        draws: cursor.draws + 1,
        levels: {
          ...cursor.levels,
          [level.name]: isLast ? { epoch: epoch + 1, position: 0 } : { epoch, position: position + 1 },
        },
      },
    };
  };
  return {
    draw(cursor, count, progress) {
      const drawn: EnvTask[] = [];
      let next = cursor;
      while (drawn.length < count) {
        const one = drawOne(next, progress);
        drawn.push(one.task);
        next = one.next;
      }
      return { tasks: drawn, next };
    },
  };
}

interface Level {
  readonly name: string;
  readonly tasks: readonly EnvTask[];
}

function levelsOf(tasks: readonly EnvTask[], { tag, order }: Curriculum): Level[] {
  const unknown = tasks.find((task) => !order.includes(task.tags[tag] ?? ""));
  if (unknown !== undefined) {
    throw new UserError(
      `Cannot order tasks by "${tag}": task "${unknown.id}" has ${JSON.stringify(unknown.tags[tag])}, expected one of ${order.join(", ")}. Name every value in curriculum.order`,
    );
  }
  return order
    .map((name) => ({ name, tasks: tasks.filter((task) => task.tags[tag] === name) }))
    .filter((level) => level.tasks.length > 0);
}

function opensAt(level: number, count: number, curriculum: Curriculum | undefined): number {
  return count < 2 ? 0 : (level / (count - 1)) * (curriculum?.openBy ?? 0);
}
