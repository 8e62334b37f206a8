import fc from "fast-check";
import { expect, it } from "vitest";
import type { EnvTask } from "../envs/index.js";
import { createTaskPlan, FIRST_TASK, type TaskCursor } from "./task-plan.js";

const LEVELS = ["easy", "medium", "hard"];
const tasks = Array.from(
  { length: 30 },
  (_, i): EnvTask => ({ id: `t${i}`, tags: { hardness: LEVELS[i % 3]! } }),
);
const curriculum = { tag: "hardness", order: LEVELS, openBy: 0.5 };

it("every task comes once before any comes again, in another order each time", () => {
  const plan = createTaskPlan({ tasks, seed: 1 });
  const first = plan.draw(FIRST_TASK, 30, 0);
  const second = plan.draw(first.next, 30, 0.5);
  const ids = (drawn: readonly EnvTask[]) => drawn.map(({ id }) => id);
  expect(new Set(ids(first.tasks)).size).toBe(30);
  expect(new Set(ids(second.tasks)).size).toBe(30);
  expect(ids(first.tasks)).not.toEqual(ids(second.tasks));
  expect(ids(createTaskPlan({ tasks, seed: 2 }).draw(FIRST_TASK, 30, 0).tasks)).not.toEqual(ids(first.tasks));
});

it("a resumed plan draws what the uninterrupted one would have, wherever it is cut", () => {
  fc.assert(
    fc.property(
      fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 2, maxLength: 12 }),
      fc.boolean(),
      (counts, isStaged) => {
        const options = { tasks, seed: 3, ...(isStaged ? { curriculum } : {}) };
        const whole = createTaskPlan(options);
        let a: TaskCursor = FIRST_TASK;
        let b: TaskCursor = FIRST_TASK;
        for (const [i, count] of counts.entries()) {
          const progress = i / counts.length;
          const uninterrupted = whole.draw(a, count, progress);
          // Another plan, and the cursor as a file gives it back.
          const resumed = createTaskPlan(options).draw(JSON.parse(JSON.stringify(b)), count, progress);
          expect(resumed.tasks).toEqual(uninterrupted.tasks);
          a = uninterrupted.next;
          b = resumed.next;
        }
      },
    ),
    { numRuns: 30 },
  );
});

it("levels open one after the other until the share of the run that openBy names", () => {
  const plan = createTaskPlan({ tasks, seed: 1, curriculum });
  const levelsAt = (progress: number) =>
    new Set(plan.draw(FIRST_TASK, 60, progress).tasks.map((task) => task.tags["hardness"]));
  expect(levelsAt(0)).toEqual(new Set(["easy"]));
  expect(levelsAt(0.24)).toEqual(new Set(["easy"]));
  expect(levelsAt(0.25)).toEqual(new Set(["easy", "medium"]));
  expect(levelsAt(0.5)).toEqual(new Set(LEVELS));
});

it("open levels come by their number of tasks", () => {
  const uneven = [...tasks.filter(({ tags }) => tags["hardness"] !== "hard"), ...tasks.slice(0, 0)];
  const many = Array.from({ length: 80 }, (_, i): EnvTask => ({ id: `h${i}`, tags: { hardness: "hard" } }));
  const { tasks: drawn } = createTaskPlan({ tasks: [...uneven, ...many], seed: 1, curriculum }).draw(
    FIRST_TASK,
    2000,
    1,
  );
  const hard = drawn.filter(({ tags }) => tags["hardness"] === "hard").length;
  // 80 of 100 tasks: 1600 of 2000, standard deviation 18.
  expect(Math.abs(hard - 1600)).toBeLessThan(72);
});

it("a task of a level that is not named is refused", () => {
  expect(() =>
    createTaskPlan({ tasks, seed: 1, curriculum: { ...curriculum, order: ["easy", "medium"] } }),
  ).toThrow(
    'Cannot order tasks by "hardness": task "t2" has "hard", expected one of easy, medium. Name every value in curriculum.order',
  );
  expect(() => createTaskPlan({ tasks: [], seed: 1 })).toThrow("there are none");
});
