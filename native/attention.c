/*
 * Causal attention over packed trees of sequences: forward with an online softmax (Milakov and Gimelshein, arXiv:1805.02867;
 * blocks as in arXiv:2205.14135), backward by recomputing the probabilities from the row's log-sum-exp. Scratch grows with
 * the length of one tree, not with its square.
 *
 * A tree is a prefix with the branches that share it, each branch perhaps a prefix itself; most often it is one sequence
 * alone. Its tokens lie one after the other, a prefix before its branches, so the rows that see a key are those from the
 * key up to ends[key]: for a whole block of keys mostly the same ones, and only blocks where branches meet need a mask.
 *
 * Forward work is cut into (tree, head, HONE_CHUNK rows), backward work into (tree, head). In grouped-query
 * attention the heads of one group each make their own share of dk and dv, added afterwards in the order of the heads.
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "hone.h"

#define HONE_BLOCK 64
#define HONE_CHUNK 512
#define HONE_NO_SCORE -1e30f

/* One head of one tree: every pointer is at its first token. */
typedef struct hone_attention_tree {
  int64_t length, width, window, q_stride, kv_stride, dkv_stride, lse_stride;
  float scale;
  const float *q, *k, *v, *d_o;
  float *o, *lse, *dq, *dk, *dv;
  /* Of a tree with branches, else NULL: the row behind the last that sees a key, counted from the tree's first token. */
  const float *ends;
  /* Of a tree with branches under a window, else NULL: a token's position in its sequence. `window` is then 0. */
  const float *positions;
  float reach; /* the window of such a tree */
} hone_attention_tree;

#define HONE_KERNELS "attention.kernels.h"
#include "each_isa.h"

typedef struct {
  int64_t first, length, first_unit; /* first_unit: how many chunks the trees before have */
  int branched;
} tree_span;

typedef struct {
  const hone_attention *shape;
  const float *q, *k, *v, *d_o;
  float *o, *lse, *dq, *dk, *dv, *dk_shares, *dv_shares;
  tree_span *spans;
  float *ends, *positions; /* NULL without branches; positions also without a window */
  int64_t trees, chunks;
  atomic_int failed;
  void (*rows)(const hone_attention_tree *, int64_t, int64_t, float *);
  void (*grad)(const hone_attention_tree *, float *);
  void (*add)(const float *, int64_t, int64_t, int64_t, float *);
} attention_run;

static int64_t padded_width(int64_t width) { return (width + 15) / 16 * 16; }
static int64_t whole_groups(int64_t rows) { return (rows + 3) / 4 * 4; }

/* How a sequence that is still open goes on: up to which token, and with which position. */
typedef struct {
  int64_t end, position;
} open_span;

/* Writes one tree's ends and positions; `open` has room for each of its tokens. */
static hone_status follow_branches(const tree_span *tree, const int32_t *ends, open_span *open, float *tree_ends,
                                   float *tree_positions) {
  int64_t depth = 0;
  open[0] = (open_span){tree->first + tree->length, 0};
  for (int64_t t = tree->first; t < tree->first + tree->length; t++) {
    while (open[depth].end <= t) depth--;
    if (ends[t] <= t || ends[t] > open[depth].end) return HONE_BAD_ENDS;
    if (ends[t] < open[depth].end) {
      open[depth + 1] = (open_span){ends[t], open[depth].position};
      depth++;
    }
    tree_ends[t] = (float)(ends[t] - tree->first);
    if (tree_positions != NULL) tree_positions[t] = (float)open[depth].position;
    open[depth].position++;
  }
  return HONE_OK;
}

static void give_spans(attention_run *run) {
  hone_give(run->spans);
  hone_give(run->ends);
}

/* Fills in the trees and their branches. After anything but HONE_OK there is nothing to give back. */
static hone_status find_spans(attention_run *run, const int32_t *ends) {
  const hone_attention *shape = run->shape;
  if (shape->tokens < 0 || shape->width <= 0 || shape->width % 4 != 0 || shape->width > 1024 || shape->kv_heads <= 0 ||
      shape->heads <= 0 || shape->heads % shape->kv_heads != 0 || shape->window < 0)
    return HONE_BAD_SHAPE;
  int64_t longest = 0; /* of the trees with branches */
  for (int64_t t = 0; t < shape->tokens; t = ends[t], run->trees++)
    if (ends[t] <= t || ends[t] > shape->tokens) return HONE_BAD_ENDS;
  run->spans = hone_take((size_t)(run->trees + 1) * sizeof *run->spans);
  if (run->spans == NULL) return HONE_NO_MEMORY;
  int64_t n = 0;
  for (int64_t t = 0; t < shape->tokens; t = ends[t]) {
    tree_span *tree = &run->spans[n++];
    *tree = (tree_span){.first = t, .length = ends[t] - t, .first_unit = run->chunks};
    run->chunks += (tree->length + HONE_CHUNK - 1) / HONE_CHUNK;
    for (int64_t i = t; i < ends[t] && !tree->branched; i++) tree->branched = ends[i] != ends[t];
    if (tree->branched && tree->length > longest) longest = tree->length;
  }
  if (longest == 0) return HONE_OK;
  /* A block of keys is read whole, also past the last token. Positions are float numbers, exact up to 2^24. */
  const int64_t room = shape->tokens + HONE_BLOCK;
  const int windowed = shape->window > 0;
  hone_status status = longest < 1 << 24 ? HONE_OK : HONE_BAD_SHAPE;
  open_span *open = hone_take((size_t)(longest + 1) * sizeof *open);
  run->ends = hone_take((size_t)((1 + windowed) * room) * sizeof(float));
  if (open == NULL || run->ends == NULL) status = HONE_NO_MEMORY;
  if (status == HONE_OK) {
    memset(run->ends, 0, (size_t)((1 + windowed) * room) * sizeof(float));
    if (windowed) run->positions = run->ends + room;
  }
  for (int64_t i = 0; i < run->trees && status == HONE_OK; i++)
    if (run->spans[i].branched) status = follow_branches(&run->spans[i], ends, open, run->ends, run->positions);
  hone_give(open);
  if (status != HONE_OK) give_spans(run);
  return status;
}

static hone_attention_tree tree_at(const attention_run *run, const tree_span *span, int64_t head) {
  const hone_attention *shape = run->shape;
  const int64_t group = shape->heads / shape->kv_heads, q_stride = shape->heads * shape->width,
                kv_stride = shape->kv_heads * shape->width, at = span->first * q_stride + head * shape->width,
                kv_at = span->first * kv_stride + head / group * shape->width;
  hone_attention_tree s = {
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
  if (span->branched) {
    s.ends = run->ends + span->first;
    if (run->positions != NULL) s.positions = run->positions + span->first;
    s.reach = (float)shape->window;
    s.window = 0;
  }
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
  int64_t low = 0, high = run->trees - 1; /* the last tree whose first unit is at most this chunk */
  while (low < high) {
    int64_t middle = (low + high + 1) / 2;
    if (run->spans[middle].first_unit <= chunk) low = middle;
    else high = middle - 1;
  }
  const tree_span *span = &run->spans[low];
  const int64_t from = (chunk - span->first_unit) * HONE_CHUNK;
  const int64_t to = from + HONE_CHUNK < span->length ? from + HONE_CHUNK : span->length;
  const int64_t padded = padded_width(run->shape->width), rows = whole_groups(to - from);
  float *scratch = hone_take((size_t)(2 * HONE_BLOCK * padded + 4 * HONE_BLOCK + rows * (2 * padded + 2)) * sizeof(float));
  if (scratch == NULL) {
    atomic_store(&run->failed, 1);
    return;
  }
  hone_attention_tree s = tree_at(run, span, head);
  run->rows(&s, from, to, scratch);
  hone_give(scratch);
}

static void backward_unit(void *arg, int64_t unit) {
  attention_run *run = arg;
  const tree_span *span = &run->spans[unit / run->shape->heads];
  const int64_t padded = padded_width(run->shape->width), rows = whole_groups(span->length);
  float *scratch = hone_take(
      (size_t)(5 * HONE_BLOCK * padded + 2 * HONE_BLOCK * HONE_BLOCK + rows * (3 * padded + 2)) * sizeof(float));
  if (scratch == NULL) {
    atomic_store(&run->failed, 1);
    return;
  }
  hone_attention_tree s = tree_at(run, span, unit % run->shape->heads);
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
                                   const float *v, const int32_t *ends, float *o, float *lse) {
  attention_run run = {.shape = shape, .q = q, .k = k, .v = v, .o = o, .lse = lse, .rows = HONE_BEST(attention_rows)};
  hone_status status = find_spans(&run, ends);
  if (status != HONE_OK) return status;
  pool->run(pool, run.chunks * shape->heads, forward_unit, &run);
  give_spans(&run);
  return atomic_load(&run.failed) ? HONE_NO_MEMORY : HONE_OK;
}

hone_status hone_attention_backward(hone_pool *pool, const hone_attention *shape, const float *q, const float *k,
                                    const float *v, const int32_t *ends, const float *o, const float *lse,
                                    const float *d_o, float *dq, float *dk, float *dv) {
  /* The tree record is shared with the forward pass, which writes o and lse; here they are only read. */
  attention_run run = {.shape = shape, .q = q, .k = k, .v = v, .o = (float *)(uintptr_t)o, .lse = (float *)(uintptr_t)lse,
                       .d_o = d_o, .dq = dq, .dk = dk, .dv = dv, .grad = HONE_BEST(attention_grad),
                       .add = HONE_BEST(attention_add)};
  hone_status status = find_spans(&run, ends);
  if (status != HONE_OK) return status;
  const int grouped = shape->heads != shape->kv_heads;
  if (grouped) {
    const size_t share = (size_t)(shape->tokens * shape->heads * shape->width);
    run.dk_shares = hone_take(2 * share * sizeof(float));
    if (run.dk_shares == NULL) {
      give_spans(&run);
      return HONE_NO_MEMORY;
    }
    run.dv_shares = run.dk_shares + share;
  }
  pool->run(pool, run.trees * shape->heads, backward_unit, &run);
  if (grouped) {
    if (!atomic_load(&run.failed)) pool->run(pool, (shape->tokens + TOKENS_PER_ADD - 1) / TOKENS_PER_ADD, add_unit, &run);
    hone_give(run.dk_shares);
  }
  give_spans(&run);
  return atomic_load(&run.failed) ? HONE_NO_MEMORY : HONE_OK;
}
