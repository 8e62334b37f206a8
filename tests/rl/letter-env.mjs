/**
 * A toy task for tests of reinforcement learning: the prompt is a letter, the answer should repeat it. The reward is the
 * share of the answer's letters that are right, so a model with fresh weights has something to learn from at once.
 */

export const LETTERS = "abcdefgh";
const EOS = LETTERS.length;

/** One token a letter; the last id ends an answer. */
export const letterTokenizer = {
  vocabSize: LETTERS.length + 1,
  eosId: EOS,
  hash: "letters",
  encode: (text) => [...text].map((letter) => LETTERS.indexOf(letter)),
  decode: (tokens) => tokens.map((token) => LETTERS[token] ?? "").join(""),
};

/** config.json of a model for these tokens. */
export const letterModel = {
  architectures: ["LlamaForCausalLM"],
  model_type: "llama",
  hidden_act: "silu",
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 2,
  max_position_embeddings: 64,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: false,
  vocab_size: letterTokenizer.vocabSize,
  eos_token_id: EOS,
};

/** `letters` that are asked for; `copies` tasks of each. */
export function createLetterEnv({ letters = LETTERS, copies = 4, length = 6 } = {}) {
  const tasks = [...letters].flatMap((letter) =>
    Array.from({ length: copies }, (_, copy) => ({
      id: `${letter}${copy}`,
      tags: { letter, hardness: letter < "e" ? "easy" : "hard" },
    })),
  );
  return {
    name: "letters",
    tasks,
    create: async (task) => ({
      initialObservation: async () => ({ messages: [{ role: "user", content: task.tags.letter }] }),
      step: async ({ text }) => {
        const right = [...text].filter((letter) => letter === task.tags.letter).length;
        const score = right / Math.max(length, text.length);
        return {
          reward: {
            kind: "value",
            value: score,
            components: [{ name: "right", score, weight: 1 }],
          },
          observation: null,
          metrics: { correct: score === 1 ? 1 : 0 },
        };
      },
    }),
    goldActions: (task) => [task.tags.letter.repeat(length)],
    close: async () => undefined,
  };
}
