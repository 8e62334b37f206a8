/* Pools without onnxruntime, and temporary memory that is kept between calls. */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "hone.h"

static void run_serially(hone_pool *pool, int64_t count, hone_body body, void *arg) {
  (void)pool;
  for (int64_t index = 0; index < count; index++) body(arg, index);
}

hone_pool hone_serial_pool(void) { return (hone_pool){NULL, run_serially, 1, 0}; }

typedef struct {
  int64_t next, count;
  hone_body body;
  void *arg;
} claims;

static void *claim(void *given) {
  claims *work = given;
  for (;;) {
    const int64_t index = __atomic_fetch_add(&work->next, 1, __ATOMIC_RELAXED);
    if (index >= work->count) return NULL;
    work->body(work->arg, index);
  }
}

#define MOST_THREADS 256

static void run_on_threads(hone_pool *pool, int64_t count, hone_body body, void *arg) {
  claims work = {0, count, body, arg};
  pthread_t threads[MOST_THREADS];
  int started = 0;
  while (started < pool->threads - 1 && started < count - 1 && started < MOST_THREADS &&
         pthread_create(&threads[started], NULL, claim, &work) == 0)
    started++;
  claim(&work);
  for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
}

hone_pool hone_thread_pool(int threads) {
  return (hone_pool){NULL, run_on_threads, threads < 1 ? 1 : threads, 0};
}

/* ---- temporary memory ----------------------------------------------------------------------------------- */

/* In front of every block, as long as a cache line so that the block keeps its alignment. */
typedef struct block {
  size_t bytes; /* of the mapping, header included */
  struct block *next;
  char padding[64 - sizeof(size_t) - sizeof(void *)];
} block;

#define HUGE_PAGE ((size_t)2 << 20)
#define MOST_KEPT ((size_t)96 << 20)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static block *kept = NULL;
static size_t kept_bytes = 0;

/* The smallest kept block of at least `bytes` that is not more than twice as long. */
static block *take_kept(size_t bytes) {
  block **best = NULL;
  for (block **at = &kept; *at != NULL; at = &(*at)->next)
    if ((*at)->bytes >= bytes && (*at)->bytes / 2 <= bytes && (best == NULL || (*at)->bytes < (*best)->bytes))
      best = at;
  if (best == NULL) return NULL;
  block *found = *best;
  *best = found->next;
  kept_bytes -= found->bytes;
  return found;
}

static size_t rounded(size_t bytes) {
  const size_t step = bytes >= HUGE_PAGE ? HUGE_PAGE : 4096;
  return (bytes + step - 1) / step * step;
}

static block *map_block(size_t bytes) {
  if (bytes < HUGE_PAGE) {
    block *small = aligned_alloc(64, bytes);
    if (small != NULL) small->bytes = bytes;
    return small;
  }
  block *large = aligned_alloc(HUGE_PAGE, bytes);
  if (large == NULL) return NULL;
  /* Fewer, larger pages: packed matrices are walked with long strides. A refusal costs speed only. */
  madvise(large, bytes, MADV_HUGEPAGE);
  large->bytes = bytes;
  return large;
}

void *hone_take(size_t bytes) {
  if (bytes > SIZE_MAX / 2) return NULL;
  const size_t size = rounded(bytes + sizeof(block));
  pthread_mutex_lock(&lock);
  block *found = take_kept(size);
  pthread_mutex_unlock(&lock);
  if (found == NULL) found = map_block(size);
  return found == NULL ? NULL : found + 1;
}

void hone_give(void *memory) {
  if (memory == NULL) return;
  block *given = (block *)memory - 1;
  pthread_mutex_lock(&lock);
  const int keep = kept_bytes + given->bytes <= MOST_KEPT;
  if (keep) {
    given->next = kept;
    kept = given;
    kept_bytes += given->bytes;
  }
  pthread_mutex_unlock(&lock);
  if (!keep) free(given);
}

void hone_release_scratch(void) {
  pthread_mutex_lock(&lock);
  block *list = kept;
  kept = NULL;
  kept_bytes = 0;
  pthread_mutex_unlock(&lock);
  while (list != NULL) {
    block *next = list->next;
    free(list);
    list = next;
  }
}
