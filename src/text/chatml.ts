/** The chat template that Hone gives to tokenizers it makes. Never applied to a model that has none: name it. */

/**
 * ChatML with generation blocks: what the assistant writes, with its `<|im_end|>`, is inside them.
 * Needs `<|im_start|>` and `<|im_end|>` as special tokens.
 */
export const CHATML_TEMPLATE = `{%- for message in messages -%}
{{- '<|im_start|>' + message['role'] + '\\n' -}}
{%- if message['role'] == 'assistant' -%}
{%- generation -%}{{- message['content'] + '<|im_end|>' -}}{%- endgeneration -%}
{%- else -%}
{{- message['content'] + '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
`;
