/** What a policy acts in and how it is spoken to: environments opened, prompts formatted as the model was taught. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  createSqlExecutor,
  createTextToSql,
  type EnvSet,
  type EnvTask,
  loadTextToSqlData,
  type SplitName,
  type TextToSqlConfig,
} from "../envs/index.js";
import { createChatFormat, createPlainFormat, type PromptFormat } from "../rollouts/index.js";
import { createChatRenderer, type TextTokenizer } from "../text/index.js";

export interface OpenedTasks {
  /** All tasks of all splits that were asked for. */
  readonly set: EnvSet;
  readonly tasks: Readonly<Record<string, readonly EnvTask[]>>;
  close(): Promise<void>;
}

/** One environment over several splits of text-to-SQL data, so that they share processes and read databases once. */
export function openTasks(config: TextToSqlConfig, splits: readonly SplitName[]): OpenedTasks {
  const { data, databases: only, splitBy, splitSeed, statementTimeoutSeconds, distinct, workers } = config;
  const loaded = loadTextToSqlData(data, {
    splitBy,
    seed: splitSeed,
    ...(only === undefined ? {} : { databases: only }),
  });
  const executor = createSqlExecutor({
    databases: (name) => loaded.databases.get(name)!.path,
    deadlineMs: 1000 * statementTimeoutSeconds,
    distinct,
    ...(workers === undefined ? {} : { workers }),
  });
  const chosen = [...new Set(splits)];
  const examples = chosen.flatMap((split) => loaded.splits[split]);
  const set = createTextToSql(config, { examples, databases: loaded.databases, executor });
  const byId = new Map(set.tasks.map((task) => [task.id, task]));
  return {
    set,
    tasks: Object.fromEntries(
      chosen.map((split) => [split, loaded.splits[split].map(({ id }) => byId.get(id)!)]),
    ),
    close: async () => {
      await set.close();
      await executor.close();
    },
  };
}

/** The model's chat template where it has one, or plain text as prompt-and-completion training has it. */
export function openFormat(
  model: string,
  tokenizer: TextTokenizer,
  wanted: "auto" | "chat" | "plain",
): PromptFormat {
  const isChat = wanted === "chat" || (wanted === "auto" && hasChatTemplate(model));
  return isChat
    ? createChatFormat(createChatRenderer(model, { tokenizer }), tokenizer)
    : createPlainFormat(tokenizer);
}

function hasChatTemplate(model: string): boolean {
  if (existsSync(join(model, "chat_template.jinja"))) return true;
  const path = join(model, "tokenizer_config.json");
  if (!existsSync(path)) return false;
  const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
  return typeof parsed === "object" && parsed !== null && "chat_template" in parsed;
}
