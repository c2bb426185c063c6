/* Rows that kernels cannot take as they are go through scratch: other dtypes, byte orders, alignments and strides,
   classes over several axes, classes that take no part, capped logits. Includes plan.h. */
#include "plan.h"

#include <math.h>

/* Lines of a row: its last class axis, as often as the others have entries. */
typedef struct {
    int outer;
    ptrdiff_t lines, inner, bytes;
} row_lines;

static row_lines lines_of(const plan *p)
{
    const axes *c = &p->classes;
    row_lines l = {c->ndim > 1 ? c->ndim - 1 : 0, 1, c->ndim ? c->shape[c->ndim - 1] : 1, 0};
    for (int i = 0; i < l.outer; i++)
        l.lines *= c->shape[i];
    l.bytes = l.inner * csm_itemsize(p->call->dtype);
    return l;
}

static ptrdiff_t line_step(const plan *p, int k)
{
    return p->classes.ndim ? p->classes.stride[k][p->classes.ndim - 1] : 0;
}

static char *line_at(const plan *p, int k, char *row, ptrdiff_t i, const row_lines *l)
{
    return row + offset_of(i, l->outer, p->classes.shape, p->classes.stride[k]);
}

/* Rows along that lie closer together than their few classes: class by class, whose lines of rows are read as they lie.
   There are as many of them at once as classes, more than the CPU foresees by itself: those of the next rows are
   asked for. */
static void convert_classes(const plan *p, int k, char *near, char *far, ptrdiff_t rows, int back)
{
    enum { MOST = 256 };
    double some[MOST];
    const csm_array *a = &p->operand[k];
    const csm_dtype dtype = p->call->dtype;
    const ptrdiff_t step = row_stride(p, k), size = csm_itemsize(dtype), row = p->n * size;
    const int as_computed = a->dtype == dtype && !a->swapped && step == size;
    for (ptrdiff_t r = 0; r < rows; r += MOST)
        for (ptrdiff_t i = 0; i < p->n; i++) {
            const ptrdiff_t count = rows - r < MOST ? rows - r : MOST;
            char *const here = near + r * row + i * size, *const line = far + r * step + i * line_step(p, k);
            if (back) {
                csm_read(some, dtype, here, dtype, 0, row, count);
                csm_write(line, a->dtype, a->swapped, step, some, dtype, count);
            } else {
                for (ptrdiff_t c = 0; c < count * step; c += CSM_LINE)
                    __builtin_prefetch(line + rows * step + c);
                if (!as_computed)
                    csm_read(some, dtype, line, a->dtype, a->swapped, step, count);
                csm_write(here, dtype, 0, row, as_computed ? line : (char *)some, dtype, count);
            }
        }
}

/* `rows` rows of operand k between the array, from `far` on, and scratch at `near`, in the layout: in, or back. */
static void convert_rows(const plan *p, int k, char *near, char *far, ptrdiff_t rows, int back)
{
    const csm_array *a = &p->operand[k];
    const csm_dtype dtype = p->call->dtype;
    row_lines l = lines_of(p);
    const ptrdiff_t step = p->layout == CSM_ALONG && l.inner > 1 ? line_step(p, k) : row_stride(p, k);
    if (p->layout == CSM_ACROSS) {                              /* a line for each class */
        l = (row_lines){p->classes.ndim, p->n, rows, p->stage_rows * csm_itemsize(dtype)};
        rows = 1;
    } else if (!l.outer && l.inner * step == row_stride(p, k)) {       /* rows that follow each other are one line */
        l.inner *= rows;
        rows = 1;
    } else if (!l.outer && rows > p->n && distance(row_stride(p, k)) < distance(step)) {
        convert_classes(p, k, near, far, rows, back);
        return;
    }
    for (ptrdiff_t r = 0; r < rows; r++, far += row_stride(p, k))
        for (ptrdiff_t i = 0; i < l.lines; i++, near += l.bytes) {
            char *line = line_at(p, k, far, i, &l);
            if (back)
                csm_write(line, a->dtype, a->swapped, step, near, dtype, l.inner);
            else
                csm_read(near, dtype, line, a->dtype, a->swapped, step, l.inner);
        }
}

/* v where a class takes no part; returns whether any does. */
static int mask_row(const plan *p, char *near, char *where, double v)
{
    const row_lines l = lines_of(p);
    const ptrdiff_t step = line_step(p, WHERE);
    int any = 0;
    for (ptrdiff_t i = 0; i < l.lines; i++, near += l.bytes) {
        const char *line = line_at(p, WHERE, where, i, &l);
        for (ptrdiff_t j = 0; j < l.inner; j++)
            if (line[j * step])
                any = 1;
            else
                csm_put(near, p->call->dtype, j, v);
    }
    return any;
}

/* What a class that takes no part has, and a row without any: nothing, or the logarithm of it. */
static double nothing(const plan *p)
{
    return p->call->op == CSM_LOG_SOFTMAX || p->call->op == CSM_LOGSUMEXP ? -HUGE_VAL : 0;
}

/* The gradient with respect to the logits from that with respect to the capped ones, of one row. */
static void uncap_row(const plan *p, char *near, char *far)
{
    enum { PIECE = 512 };
    double x[PIECE];
    const csm_array *a = &p->operand[X];
    const row_lines l = lines_of(p);
    const ptrdiff_t step = line_step(p, X), size = csm_itemsize(p->call->dtype);
    for (ptrdiff_t i = 0; i < l.lines; i++)
        for (ptrdiff_t j = 0; j < l.inner; j += PIECE, near += PIECE * size) {
            const ptrdiff_t count = l.inner - j < PIECE ? l.inner - j : PIECE;
            csm_read(x, p->call->dtype, line_at(p, X, far, i, &l) + j * step, a->dtype, a->swapped, step, count);
            p->table->uncap(near, x, count, p->call->softcap);
        }
}

/* The bytes after the arrays in the scratch: whether a row of the block has a class that takes part. */
static char *any_class(const plan *p, char *scratch) { return scratch + p->stage_bytes - p->stage_rows; }

void csm_stage_in(const plan *p, char *scratch, char *const far[], char *at[], ptrdiff_t inputs, ptrdiff_t rows)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(c->dtype);
    char *next = scratch;
    for (int k = 0; k < WHERE; k++) {
        at[k] = far[k];
        if (!p->staged[k])
            continue;
        at[k] = k == Y && p->staged[X] && c->op != CSM_JACOBIAN ? at[X] : next;
        next += at[k] == next ? staged_numbers(p, k, p->stage_rows) * size : 0;
        if (k == X || k == G)
            convert_rows(p, k, at[k], far[k], k == X ? inputs : rows, 0);
    }
    for (ptrdiff_t r = 0; c->where.data && r < rows; r++)
        any_class(p, scratch)[r] = (char)mask_row(p, at[X] + r * p->n * size, far[WHERE] + r * row_stride(p, WHERE),
                                                  -HUGE_VAL);
    if (c->softcap != 0)
        p->table->cap(at[X], rows * p->n, c->softcap);
}

void csm_stage_out(const plan *p, char *scratch, char *const far[], char *const at[], char *results, ptrdiff_t rows)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(c->dtype), step = p->staged[Y] ? p->n * size : row_stride(p, Y);
    const int changed = c->where.data || c->softcap != 0;
    for (ptrdiff_t r = 0; changed && r < rows; r++) {
        if (c->where.data && at[Y])
            mask_row(p, at[Y] + r * step, far[WHERE] + r * row_stride(p, WHERE), nothing(p));
        if (c->where.data && results && !any_class(p, scratch)[r])
            csm_put(results, c->dtype, r, nothing(p));
        if (c->softcap != 0 && at[Y])
            uncap_row(p, at[Y] + r * step, far[X] + r * row_stride(p, X));
    }
    for (int k = Y; k <= H; k++)
        if (p->staged[k])
            convert_rows(p, k, at[k], far[k], rows, 1);
}
