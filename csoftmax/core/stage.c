/* Rows that kernels cannot take as they are go through scratch: other dtypes, byte orders, alignments and strides,
   classes over several axes, classes that take no part, capped logits. Includes plan.h. */
#include "plan.h"

#include <math.h>

/* What an operand is staged as. */
static csm_dtype staged_dtype(const plan *p, int k) { return k == WHERE ? CSM_BOOL : p->call->dtype; }

/* Lines of a row: its last class axis, as often as the others have entries. */
typedef struct {
    int outer;
    ptrdiff_t lines, inner, bytes;
} row_lines;

static row_lines lines_of(const plan *p, csm_dtype dtype)
{
    const axes *c = &p->classes;
    row_lines l = {c->ndim > 1 ? c->ndim - 1 : 0, 1, c->ndim ? c->shape[c->ndim - 1] : 1, 0};
    for (int i = 0; i < l.outer; i++)
        l.lines *= c->shape[i];
    l.bytes = l.inner * csm_itemsize(dtype);
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
    const csm_dtype dtype = staged_dtype(p, k);
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
    const csm_dtype dtype = staged_dtype(p, k);
    row_lines l = lines_of(p, dtype);
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

/* What of the scratch of `rows` rows is adjacent: all of them along, across those of a class. */
typedef struct { ptrdiff_t lines, count, step; } pieces;

static pieces pieces_of(const plan *p, ptrdiff_t rows)
{
    return p->layout == CSM_ACROSS ? (pieces){p->n, rows, p->stage_rows} : (pieces){1, rows * p->n, 0};
}

/* v to the classes that take no part. */
static void hide_classes(const plan *p, char *near, const char *where, ptrdiff_t rows, double v)
{
    const pieces a = pieces_of(p, rows);
    for (ptrdiff_t i = 0; i < a.lines; i++)
        csm_hide(near + i * a.step * csm_itemsize(p->call->dtype), p->call->dtype, where + i * a.step, a.count, v);
}

/* Caps logits, and writes their slopes unless `slopes` is NULL; or takes their gradient back by these. */
static void cap_classes(const plan *p, char *near, char *slopes, ptrdiff_t rows, int back)
{
    const pieces a = pieces_of(p, rows);
    const ptrdiff_t step = a.step * csm_itemsize(p->call->dtype);
    for (ptrdiff_t i = 0; i < a.lines; i++) {
        char *const by = slopes ? slopes + i * step : NULL;
        if (back)
            p->table->uncap(near + i * step, by, a.count);
        else
            p->table->cap(near + i * step, by, a.count, p->call->softcap);
    }
}

/* Takes the gradient of a row back whose slopes have no room: from its logits, read again. */
static void uncap_long_row(const plan *p, char *near, char *far)
{
    enum { PIECE = 512 };
    double x[PIECE], slopes[PIECE];
    const csm_array *a = &p->operand[X];
    const csm_dtype dtype = p->call->dtype;
    const ptrdiff_t step = class_stride(p, X), size = csm_itemsize(dtype);
    for (ptrdiff_t i = 0; i < p->n; i += PIECE) {
        const ptrdiff_t count = p->n - i < PIECE ? p->n - i : PIECE;
        csm_read(x, dtype, far + i * step, a->dtype, a->swapped, step, count);
        p->table->cap(x, slopes, count, p->call->softcap);
        p->table->uncap(near + i * size, slopes, count);
    }
}

/* The mask of a block: in scratch, or that of a long row as it lies. */
static char *mask_of(const plan *p, char *scratch, char *const far[])
{
    return p->mask_at ? scratch + p->mask_at : far[WHERE];
}

/* Where class i of row r is in scratch. */
static ptrdiff_t staged_at(const plan *p, ptrdiff_t r, ptrdiff_t i)
{
    return p->layout == CSM_ACROSS ? i * p->stage_rows + r : r * p->n + i;
}

static ptrdiff_t count_classes(const plan *p, const char *where, ptrdiff_t r)
{
    ptrdiff_t count = 0;
    for (ptrdiff_t i = 0; i < p->n; i++)
        count += where[staged_at(p, r, i)] != 0;
    return count;
}

/* Targets, or 0 where there are labels, to what smoothing makes of them: classes that take part share it evenly. */
static void smooth_targets(const plan *p, char *g, int has_targets, const char *where, ptrdiff_t rows)
{
    const csm_dtype dtype = p->call->dtype;
    const double smoothing = p->call->label_smoothing, keep = 1 - smoothing;
    for (ptrdiff_t r = 0; r < rows; r++) {
        const ptrdiff_t count = count_classes(p, where, r);
        const double share = count ? smoothing / (double)count : 0;
        for (ptrdiff_t i = 0; i < p->n; i++) {
            const ptrdiff_t at = staged_at(p, r, i);
            const double t = has_targets ? csm_get(g, dtype, at) : 0;
            csm_put(g, dtype, at, (t == 0 || keep == 0 ? 0 : keep * t) + (where[at] ? share : 0));
        }
    }
}

void csm_stage_in(const plan *p, char *scratch, char *const far[], char *at[], ptrdiff_t inputs, ptrdiff_t rows)
{
    const csm_call *c = p->call;
    char *next = scratch;
    for (int k = 0; k < WHERE; k++) {
        at[k] = far[k];
        if (!p->staged[k])
            continue;
        at[k] = k == Y && p->staged[X] && c->op != CSM_JACOBIAN ? at[X] : next;
        next += at[k] == next ? staged_numbers(p, k, p->stage_rows) * csm_itemsize(c->dtype) : 0;
        if (far[k] && (k == X || k == G))
            convert_rows(p, k, at[k], far[k], k == X ? inputs : rows, 0);
    }
    if (p->mask_at)
        convert_rows(p, WHERE, scratch + p->mask_at, far[WHERE], rows, 0);
    if (c->softcap != 0)
        cap_classes(p, at[X], p->slopes_at ? scratch + p->slopes_at : NULL, rows, 0);
    if (c->where.data)
        hide_classes(p, at[X], mask_of(p, scratch, far), rows, -HUGE_VAL);
    if (p->smooths)
        smooth_targets(p, at[G], far[G] != NULL, mask_of(p, scratch, far), rows);
}

/* Whether a row of the results at `near` is NaN. Others have what is due where no class takes part: e^-inf, or -inf. */
static int any_nan(const plan *p, const char *near, ptrdiff_t rows)
{
    const ptrdiff_t step = p->layout == CSM_ACROSS ? 1 : p->n;
    int any = 0;
    for (ptrdiff_t r = 0; r < rows && p->n; r++)
        any |= isnan(csm_get(near, p->call->dtype, r * step)) != 0;
    return any;
}

static int is_loss(const csm_call *c) { return c->op == CSM_CROSS_ENTROPY || c->op == CSM_SOFT_CROSS_ENTROPY; }

/* The loss of a row without classes, in which each has the probability 0. */
static double loss_of_nothing(const plan *p, const char *g, ptrdiff_t row, ptrdiff_t r)
{
    const csm_dtype dtype = p->call->dtype;
    const row_data *given = &p->given;
    double loss = p->call->z_loss != 0 ? p->call->z_loss * HUGE_VAL : 0;
    for (ptrdiff_t at = row * p->slots; given->label && at < (row + 1) * p->slots; at++) {
        const double c = given->coefficient ? csm_get(given->coefficient, dtype, at) : given->label[at] >= 0;
        loss += c != 0 ? c * HUGE_VAL : 0;
    }
    for (ptrdiff_t i = 0; g && i < p->n; i++) {
        const double t = csm_get(g, dtype, staged_at(p, r, i));
        const double w = given->weight ? csm_get(given->weight, dtype, i) : 1;
        loss += t != 0 && w != 0 ? t * w * HUGE_VAL : 0;
    }
    return loss == 0 ? 0 : loss * (given->sample_weight ? given->sample_weight[row] : 1);
}

/* What rows without classes have for NaN. logsumexp is right as computed, and so are labels that are ignored. */
static void fill_empty_rows(const plan *p, const char *where, const char *g, char *results, ptrdiff_t first,
                            ptrdiff_t rows)
{
    const csm_call *c = p->call;
    const csm_dtype dtype = csm_result_dtype(c);
    for (ptrdiff_t r = 0; r < rows; r++)
        for (ptrdiff_t at = r * p->results; at < (r + 1) * p->results; at++)
            if (isnan(csm_get(results, dtype, at)) && !count_classes(p, where, r))
                csm_put(results, dtype, at, is_loss(c) ? loss_of_nothing(p, g, first + r, r)
                                            : c->op == CSM_SELECTIVE ? -HUGE_VAL : 0);
}

void csm_stage_out(const plan *p, char *scratch, char *const far[], char *const at[], char *results, ptrdiff_t first,
                   ptrdiff_t rows)
{
    const csm_call *c = p->call;
    const char *const where = c->where.data ? mask_of(p, scratch, far) : NULL;
    if (where && results)
        fill_empty_rows(p, where, at[G], results, first, rows);
    if (c->softcap != 0 && at[Y] && p->slopes_at)
        cap_classes(p, at[Y], scratch + p->slopes_at, rows, 1);
    else if (c->softcap != 0 && at[Y])
        uncap_long_row(p, at[Y], far[X]);
    if (where && at[Y] && (is_loss(c) || any_nan(p, at[Y], rows)))
        hide_classes(p, at[Y], where, rows, c->op == CSM_LOG_SOFTMAX ? -HUGE_VAL : 0);
    for (int k = Y; k <= H; k++)
        if (p->staged[k])
            convert_rows(p, k, at[k], far[k], rows, 1);
}
