/*
 * Causal attention over packed sequences: forward with an online softmax (Milakov and Gimelshein, arXiv:1805.02867;
 * blocks as in arXiv:2205.14135), backward by recomputing the probabilities from the row's log-sum-exp. Scratch grows with
 * the length of one sequence, not with its square.
 *
 * Forward work is cut into (sequence, head, HONE_CHUNK rows), backward work into (sequence, head). In grouped-query
 * attention the heads of one group each make their own share of dk and dv, added afterwards in the order of the heads.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hone.h"

#define HONE_BLOCK 64
#define HONE_CHUNK 512
#define HONE_NO_SCORE -1e30f

/* One head of one sequence: every pointer is at its first token. */
typedef struct hone_attention_sequence {
  int64_t length, width, window, q_stride, kv_stride, dkv_stride, lse_stride;
  float scale;
  const float *q, *k, *v, *d_o;
  float *o, *lse, *dq, *dk, *dv;
} hone_attention_sequence;

#define HONE_KERNELS "attention.kernels.h"
#include "each_isa.h"

typedef struct {
  int64_t first, length, first_unit; /* first_unit: how many chunks the sequences before have */
} sequence_span;

typedef struct {
  const hone_attention *shape;
  const float *q, *k, *v, *d_o;
  float *o, *lse, *dq, *dk, *dv, *dk_shares, *dv_shares;
  sequence_span *spans;
  int64_t sequences, chunks;
  atomic_int failed;
  void (*rows)(const hone_attention_sequence *, int64_t, int64_t, float *);
  void (*grad)(const hone_attention_sequence *, float *);
  void (*add)(const float *, int64_t, int64_t, int64_t, float *);
} attention_run;

static int64_t padded_width(int64_t width) { return (width + 15) / 16 * 16; }
static int64_t whole_groups(int64_t rows) { return (rows + 3) / 4 * 4; }

static hone_status find_spans(attention_run *run, const int32_t *starts) {
  const hone_attention *shape = run->shape;
  if (shape->tokens < 0 || shape->width <= 0 || shape->width % 4 != 0 || shape->width > 1024 || shape->kv_heads <= 0 ||
      shape->heads <= 0 || shape->heads % shape->kv_heads != 0 || shape->window < 0)
    return HONE_BAD_SHAPE;
  for (int64_t t = 0; t < shape->tokens; t++) {
    if (starts[t] == t) run->sequences++;
    else if (t == 0 || starts[t] != starts[t - 1]) return HONE_BAD_STARTS;
  }
  run->spans = hone_take((size_t)(run->sequences + 1) * sizeof *run->spans);
  if (run->spans == NULL) return HONE_NO_MEMORY;
  int64_t n = 0;
  for (int64_t t = 0; t < shape->tokens; t++) {
    if (starts[t] == t) run->spans[n++] = (sequence_span){.first = t};
    run->spans[n - 1].length++;
  }
  for (int64_t i = 0; i < n; i++) {
    run->spans[i].first_unit = run->chunks;
    run->chunks += (run->spans[i].length + HONE_CHUNK - 1) / HONE_CHUNK;
  }
  return HONE_OK;
}

static hone_attention_sequence sequence_at(const attention_run *run, const sequence_span *span, int64_t head) {
  const hone_attention *shape = run->shape;
  const int64_t group = shape->heads / shape->kv_heads, q_stride = shape->heads * shape->width,
                kv_stride = shape->kv_heads * shape->width, at = span->first * q_stride + head * shape->width,
                kv_at = span->first * kv_stride + head / group * shape->width;
  hone_attention_sequence s = {
      .length = span->length,
      .width = shape->width,
      .window = shape->window,
      .q_stride = q_stride,
      .kv_stride = kv_stride,
      .dkv_stride = group == 1 ? kv_stride : q_stride,
      .lse_stride = shape->heads,
      .scale = shape->scale,
      .q = run->q + at,
      .k = run->k + kv_at,
      .v = run->v + kv_at,
      .o = run->o + at,
      .lse = run->lse + span->first * shape->heads + head,
  };
  if (run->d_o != NULL) {
    s.d_o = run->d_o + at;
    s.dq = run->dq + at;
    s.dk = group == 1 ? run->dk + kv_at : run->dk_shares + at;
    s.dv = group == 1 ? run->dv + kv_at : run->dv_shares + at;
  }
  return s;
}

static void forward_unit(void *arg, int64_t unit) {
  attention_run *run = arg;
  const int64_t chunk = unit / run->shape->heads, head = unit % run->shape->heads;
  int64_t low = 0, high = run->sequences - 1; /* the last sequence whose first unit is at most this chunk */
  while (low < high) {
    int64_t middle = (low + high + 1) / 2;
    if (run->spans[middle].first_unit <= chunk) low = middle;
    else high = middle - 1;
  }
  const sequence_span *span = &run->spans[low];
  const int64_t from = (chunk - span->first_unit) * HONE_CHUNK;
  const int64_t to = from + HONE_CHUNK < span->length ? from + HONE_CHUNK : span->length;
  const int64_t padded = padded_width(run->shape->width), rows = whole_groups(to - from);
  float *scratch = hone_take((size_t)(2 * HONE_BLOCK * padded + 4 * HONE_BLOCK + rows * (2 * padded + 2)) * sizeof(float));
  if (scratch == NULL) {
    atomic_store(&run->failed, 1);
    return;
  }
  hone_attention_sequence s = sequence_at(run, span, head);
  run->rows(&s, from, to, scratch);
  hone_give(scratch);
}

static void backward_unit(void *arg, int64_t unit) {
  attention_run *run = arg;
  const sequence_span *span = &run->spans[unit / run->shape->heads];
  const int64_t padded = padded_width(run->shape->width), rows = whole_groups(span->length);
  float *scratch = hone_take(
      (size_t)(5 * HONE_BLOCK * padded + 2 * HONE_BLOCK * HONE_BLOCK + rows * (3 * padded + 2)) * sizeof(float));
  if (scratch == NULL) {
    atomic_store(&run->failed, 1);
    return;
  }
  hone_attention_sequence s = sequence_at(run, span, unit % run->shape->heads);
  run->grad(&s, scratch);
  hone_give(scratch);
}

#define TOKENS_PER_ADD 16

static void add_unit(void *arg, int64_t unit) {
  attention_run *run = arg;
  const hone_attention *shape = run->shape;
  const int64_t group = shape->heads / shape->kv_heads, width = shape->width;
  const int64_t end = (unit + 1) * TOKENS_PER_ADD < shape->tokens ? (unit + 1) * TOKENS_PER_ADD : shape->tokens;
  for (int64_t t = unit * TOKENS_PER_ADD; t < end; t++)
    for (int64_t kv = 0; kv < shape->kv_heads; kv++) {
      const int64_t to = (t * shape->kv_heads + kv) * width, from = to * group;
      run->add(run->dk_shares + from, width, group, width, run->dk + to);
      run->add(run->dv_shares + from, width, group, width, run->dv + to);
    }
}

hone_status hone_attention_forward(hone_pool *pool, const hone_attention *shape, const float *q, const float *k,
                                   const float *v, const int32_t *starts, float *o, float *lse) {
  attention_run run = {.shape = shape, .q = q, .k = k, .v = v, .o = o, .lse = lse, .rows = HONE_BEST(attention_rows)};
  hone_status status = find_spans(&run, starts);
  if (status != HONE_OK) return status;
  pool->run(pool, run.chunks * shape->heads, forward_unit, &run);
  hone_give(run.spans);
  return atomic_load(&run.failed) ? HONE_NO_MEMORY : HONE_OK;
}

hone_status hone_attention_backward(hone_pool *pool, const hone_attention *shape, const float *q, const float *k,
                                    const float *v, const int32_t *starts, const float *o, const float *lse,
                                    const float *d_o, float *dq, float *dk, float *dv) {
  /* The sequence record is shared with the forward pass, which writes o and lse; here they are only read. */
  attention_run run = {.shape = shape, .q = q, .k = k, .v = v, .o = (float *)(uintptr_t)o, .lse = (float *)(uintptr_t)lse,
                       .d_o = d_o, .dq = dq, .dk = dk, .dv = dv, .grad = HONE_BEST(attention_grad),
                       .add = HONE_BEST(attention_add)};
  hone_status status = find_spans(&run, starts);
  if (status != HONE_OK) return status;
  const int grouped = shape->heads != shape->kv_heads;
  if (grouped) {
    const size_t share = (size_t)(shape->tokens * shape->heads * shape->width);
    run.dk_shares = hone_take(2 * share * sizeof(float));
    if (run.dk_shares == NULL) {
      hone_give(run.spans);
      return HONE_NO_MEMORY;
    }
    run.dv_shares = run.dk_shares + share;
  }
  pool->run(pool, run.sequences * shape->heads, backward_unit, &run);
  if (grouped) {
    if (!atomic_load(&run.failed)) pool->run(pool, (shape->tokens + TOKENS_PER_ADD - 1) / TOKENS_PER_ADD, add_unit, &run);
    hone_give(run.dk_shares);
  }
  hone_give(run.spans);
  return atomic_load(&run.failed) ? HONE_NO_MEMORY : HONE_OK;
}
