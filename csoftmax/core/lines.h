/* The rows of a call in C order, as the caller's per-row arrays have them. */
#ifndef CSM_LINES_H
#define CSM_LINES_H

#include "plan.h"

/* The rows in C order, line by line along their last axis. */
typedef struct {
    int outer;                      /* axes before the last     */
    ptrdiff_t inner, step;          /* rows of a line, and how far apart they are in computing order */
} lines;

static inline lines lines_of(const plan *p)
{
    const csm_call *c = p->call;
    lines l = {c->ndim > 1 ? c->ndim - 1 : 0, c->ndim ? c->shape[c->ndim - 1] : 1,
               c->ndim ? p->position[c->ndim - 1] : 1};
    return l;
}

/* Where line i begins in computing order, and in an array. */
static inline ptrdiff_t line_start(const plan *p, ptrdiff_t i, const lines *l)
{
    return offset_of(i, l->outer, p->call->shape, p->position);
}

static inline char *line_of(const plan *p, const csm_array *a, ptrdiff_t i, const lines *l)
{
    return (char *)a->data + offset_of(i, l->outer, p->call->shape, a->stride);
}

static inline ptrdiff_t last_stride(const plan *p, const csm_array *a)
{
    return p->call->ndim ? a->stride[p->call->ndim - 1] : 0;
}

#endif
