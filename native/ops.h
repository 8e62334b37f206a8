/* An operator of the domain "hone" as data: what it takes, what it gives, how it computes. Knows no onnxruntime. */
#ifndef HONE_OPS_H
#define HONE_OPS_H

#include "hone.h"

#define MOST_INPUTS 8
#define MOST_OUTPUTS 4
#define MOST_ATTRIBUTES 6
#define MOST_RANK 3

/* A dimension: a number, or, before a graph runs, -1 and perhaps a name. */
typedef struct {
  int64_t size;
  const char *symbol;
} hone_dim;

typedef struct {
  int rank; /* -1: the tensor is not there */
  hone_dim dims[MOST_RANK];
} hone_shape;

typedef struct {
  const char *name;
  int is_float;
  double otherwise; /* its value when the node does not have it */
} hone_attribute;

typedef struct {
  const hone_shape *in, *out;
  const void *inputs[MOST_INPUTS];
  void *outputs[MOST_OUTPUTS]; /* NULL for a weight's gradient that nobody wants */
  const double *attributes;
} hone_call;

typedef struct {
  const char *name;
  int inputs, required_inputs, outputs, required_outputs;
  int input_types[MOST_INPUTS], output_types[MOST_OUTPUTS];
  hone_attribute attributes[MOST_ATTRIBUTES];
  /* Shapes of the outputs; NULL, or what is wrong with those of the inputs. */
  const char *(*shape)(const hone_shape *in, const double *attributes, hone_shape *out);
  hone_status (*compute)(hone_pool *pool, const hone_call *call);
  /* Outputs without which the kernel can do, one bit each; other unwanted ones get memory to be written to. */
  unsigned dispensable;
  /* The input whose memory output 0 may take over, the next whose memory output 1 may, and so on; or -1. */
  int overwrites;
} hone_op;

/* Ends with an entry without a name. */
extern const hone_op hone_ops[];

#endif
