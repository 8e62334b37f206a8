/** The battery on an environment that is right, and on one wrong in each way: a check that passes both is no check. */
import { describe, expect, it } from "vitest";
import { type RewardOutcome, rewardOf } from "../rewards/index.js";
import type { Env, EnvSet, EnvTask } from "./env.js";
import { checkEnv, describeEnv } from "./env-battery.js";

interface Faults {
  readonly goldEarns?: number;
  readonly emptyEarns?: number;
  readonly leaks?: boolean;
  readonly isRandom?: boolean;
  readonly answersAfterEnd?: boolean;
  readonly throwsOnBrace?: boolean;
  readonly sharesState?: boolean;
  readonly goesOn?: boolean;
  readonly staysBroken?: boolean;
}

/** Repeat the task's secret word, which the prompt spells backwards; two turns. */
function createEchoSet(faults: Faults = {}): EnvSet {
  const tasks: EnvTask[] = ["abracadabra", "rhododendron"].map((id) => ({ id, tags: {} }));
  const shared = { turns: 0 };
  let calls = 0;
  let isBroken = false;
  return {
    name: "echo",
    tasks,
    goldActions: ({ id }) => [id, id],
    async close() {},
    async create(task): Promise<Env> {
      const own = faults.sharesState === true ? shared : { turns: 0 };
      own.turns = 0;
      const backwards = [...task.id].reverse().join("");
      const noise = faults.isRandom === true ? calls++ : "";
      return {
        async initialObservation() {
          const words = faults.leaks === true ? task.id.toUpperCase() : backwards;
          return { messages: [{ role: "user", content: `${words}${noise}` }] };
        },
        async step({ text }) {
          await Promise.resolve();
          if (isBroken) throw new Error("still broken");
          if (own.turns >= 2 && faults.answersAfterEnd !== true) throw new Error("the episode is over");
          own.turns++;
          if (faults.throwsOnBrace === true && text === "{") throw new Error("unexpected end of JSON");
          const score =
            text === task.id ? (faults.goldEarns ?? 1) : text === "" ? (faults.emptyEarns ?? 0) : 0;
          const reward: RewardOutcome = rewardOf([{ name: "echo", score, weight: 0.5 }]);
          const isOver = own.turns >= 2 && faults.goesOn !== true;
          return { reward, observation: isOver ? null : { messages: [] }, metrics: {} };
        },
        async close() {
          if (faults.staysBroken === true && own.turns < 2) isBroken = true;
        },
      };
    },
  };
}

describe("a right environment", () => {
  describeEnv(() => createEchoSet(), { it });
});

describe("checkEnv()", () => {
  it("finds nothing wrong with it", async () => {
    expect(await checkEnv(createEchoSet())).toEqual([]);
  });

  it.each<[string, Faults]>([
    ["gold", { goldEarns: 0.999 }],
    ["gold", { goesOn: true }],
    ["empty", { emptyEarns: 0.1 }],
    ["same_seed", { isRandom: true }],
    ["no_leak", { leaks: true }],
    ["after_end", { answersAfterEnd: true }],
    ["malformed", { throwsOnBrace: true }],
    ["side_by_side", { sharesState: true }],
    ["aborted", { staysBroken: true }],
  ])("finds what is wrong: %s %j", async (check, faults) => {
    const problems = await checkEnv(createEchoSet(faults));
    expect(problems.map((problem) => problem.check)).toContain(check);
  });

  it("says what is wrong", async () => {
    const [problem] = await checkEnv(createEchoSet({ goldEarns: 0.5 }), { taskCount: 1 });
    expect(problem).toEqual({
      check: "gold",
      taskId: "abracadabra",
      message: 'gold answers of task "abracadabra" earn 0.5, expected 1',
    });
  });

  it("refuses two tasks of one id", async () => {
    const set = createEchoSet();
    const twice = { ...set, tasks: [...set.tasks, ...set.tasks] };
    await expect(checkEnv(twice)).rejects.toThrow(
      'environment "echo" has 4 tasks with 2 different ids, expected each its own',
    );
  });
});
