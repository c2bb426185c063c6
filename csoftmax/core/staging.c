/* Rows that kernels cannot take as they are go through scratch: other dtypes, byte orders, alignments and strides,
   classes over several axes, classes that take no part, capped logits. Includes plan.h. */
#include "plan.h"

#include <math.h>
#include <stdint.h>

/* What an operand is staged as. */
static csm_dtype staged_dtype(const plan *p, int k) { return k == WHERE ? CSM_BOOL : p->call->dtype; }

/* Lines of an operand: from line to line and from number to number, in the array and in scratch; in bytes. Those of
   scratch are adjacent numbers. */
typedef struct {
    char *array, *scratch;
    ptrdiff_t lines, count, array_step, array_stride, scratch_step;
} matrix;

static csm_lines array_lines(const plan *p, int k, const matrix *m)
{
    const csm_array *a = &p->operand[k];
    return (csm_lines){m->array, a->dtype, a->swapped, m->array_stride, m->array_step};
}

static csm_lines scratch_lines(const plan *p, int k, const matrix *m)
{
    const csm_dtype dtype = staged_dtype(p, k);
    return (csm_lines){m->scratch, dtype, 0, csm_itemsize(dtype), m->scratch_step};
}

/* Numbers that lie side by side in the array and far apart in scratch, or the other way round: by tiles, whose lines
   are those of the array (docs/notes/staging.md). Masks are moved byte by byte. */

static void convert_tile(const plan *p, int k, const matrix *m, int back)
{
    double tile[BLOCK_LINES * BLOCK_COUNT];
    const csm_dtype dtype = staged_dtype(p, k);
    const ptrdiff_t size = csm_itemsize(dtype);
    const csm_array *a = &p->operand[k];
    const int direct = a->dtype == dtype && !a->swapped && m->array_step == size && m->array_stride % size == 0
                       && (uintptr_t)m->array % (size_t)size == 0;
    const csm_lines array = {m->array, a->dtype, a->swapped, m->array_step, m->array_stride};
    const csm_lines transposed = direct ? array : (csm_lines){(char *)tile, dtype, 0, size, m->lines * size};
    const ptrdiff_t scratch_step = m->scratch_step / size, step = transposed.step / size;
    if (k == WHERE) {
        csm_convert(scratch_lines(p, k, m), array_lines(p, k, m), m->count, m->lines);
    } else if (back) {
        p->table->transpose(transposed.data, step, m->scratch, scratch_step, m->lines, m->count);
        if (!direct)
            csm_convert(array, transposed, m->lines, m->count);
    } else {
        if (!direct)
            csm_convert(transposed, array, m->lines, m->count);
        p->table->transpose(m->scratch, scratch_step, transposed.data, step, m->count, m->lines);
    }
}

static void convert_matrix(const plan *p, int k, const matrix *m, int back)
{
    const ptrdiff_t size = csm_itemsize(staged_dtype(p, k));
    if (!lines_are_closer(m->array_step, m->array_stride, m->lines, m->count)) {
        back ? csm_convert(array_lines(p, k, m), scratch_lines(p, k, m), m->count, m->lines)
             : csm_convert(scratch_lines(p, k, m), array_lines(p, k, m), m->count, m->lines);
        return;
    }
    matrix tile = *m;
    for (ptrdiff_t i = 0; i < m->lines; i += BLOCK_LINES)
        for (ptrdiff_t j = 0; j < m->count; j += BLOCK_COUNT) {
            tile.lines = m->lines - i < BLOCK_LINES ? m->lines - i : BLOCK_LINES;
            tile.count = m->count - j < BLOCK_COUNT ? m->count - j : BLOCK_COUNT;
            tile.array = m->array + i * m->array_step + j * m->array_stride;
            tile.scratch = m->scratch + i * m->scratch_step + j * size;
            convert_tile(p, k, &tile, back);
        }
}

/* `rows` rows of operand k between the array, from `array` on, and scratch at `scratch`, in the layout: in, or back.
   Rows of several axes of classes go by lines, the last axis each. */
static void convert_rows(const plan *p, int k, char *scratch, char *array, ptrdiff_t rows, int back)
{
    const axes *c = &p->classes;
    const ptrdiff_t size = csm_itemsize(staged_dtype(p, k));
    if (p->layout == CSM_COLS) {
        const matrix m = {array, scratch, p->n, rows, class_stride(p, k), row_stride(p, k), p->stage_rows * size};
        convert_matrix(p, k, &m, back);
        return;
    }
    const int outer = c->ndim > 1 ? c->ndim - 1 : 0;
    const ptrdiff_t inner = c->ndim ? c->shape[outer] : 1;
    for (ptrdiff_t i = 0; i * inner < p->n; i++) {
        const matrix m = {array + offset_of(i, outer, c->shape, c->stride[k]), scratch + i * inner * size, rows, inner,
                          row_stride(p, k), line_stride(p, k), p->n * size};
        convert_matrix(p, k, &m, back);
    }
}

/* Rows of Jacobians that make one run, the first of them row `within` of its own, from scratch. Whole Jacobians are
   lines. */
static void write_jacobians(const plan *p, const char *scratch, char *array, ptrdiff_t within, ptrdiff_t rows)
{
    const axes *r = &p->rows;
    const ptrdiff_t n = p->n, row = n * csm_itemsize(p->call->dtype), column_stride = class_stride(p, Y);
    const ptrdiff_t stride = r->stride[Y][r->ndim - 2], of_rows = r->stride[Y][r->ndim - 1];
    for (ptrdiff_t done; rows; rows -= done, scratch += done * row) {
        const ptrdiff_t whole = within ? 0 : rows / n;
        done = whole ? whole * n : rows < n - within ? rows : n - within;
        matrix m = {array, (char *)scratch, done, n, of_rows, column_stride, row};
        if (whole)
            m.lines = whole, m.array_step = stride, m.scratch_step = n * row;
        const int even = of_rows == n * column_stride;          /* whole ones are lines of n^2 numbers */
        m.count *= whole && even ? n : 1;
        for (ptrdiff_t i = 0; i < (whole && !even ? n : 1); i++, m.array += of_rows, m.scratch += row)
            convert_matrix(p, Y, &m, 1);
        array += whole ? whole * stride : stride - within * of_rows;
        within = 0;
    }
}

/* What of the scratch of `rows` rows is adjacent: all of them in rows, in columns those of a class. */
typedef struct { ptrdiff_t lines, count, step; } pieces;

static pieces pieces_of(const plan *p, ptrdiff_t rows)
{
    return p->layout == CSM_COLS ? (pieces){p->n, rows, p->stage_rows} : (pieces){1, rows * p->n, 0};
}

/* v to the classes of operand k, where the kernel has it, that take no part. */
static void hide_classes(const plan *p, int k, char *at, const char *where, ptrdiff_t rows, double v)
{
    pieces a = pieces_of(p, rows);
    ptrdiff_t step = a.step * csm_itemsize(p->call->dtype);
    if (!p->staged[k] && p->layout == CSM_COLS) {
        step = class_stride(p, k);
    } else if (!p->staged[k]) {
        a = (pieces){rows, p->n, p->n};
        step = row_stride(p, k);
    }
    for (ptrdiff_t i = 0; i < a.lines; i++)
        p->table->hide(at + i * step, where + i * a.step, a.count, v);
}

/* Caps logits, and writes their slopes unless `slopes` is NULL; or multiplies their gradient by these. */
static void cap_classes(const plan *p, char *scratch, char *slopes, ptrdiff_t rows, int back)
{
    const pieces a = pieces_of(p, rows);
    const ptrdiff_t step = a.step * csm_itemsize(p->call->dtype);
    for (ptrdiff_t i = 0; i < a.lines; i++) {
        char *const by = slopes ? slopes + i * step : NULL;
        if (back)
            p->table->uncap(scratch + i * step, by, a.count);
        else
            p->table->cap(scratch + i * step, by, a.count, p->call->softcap);
    }
}

/* The mask of a block: in scratch, or that of a long row as it lies. */
static char *mask_of(const plan *p, char *scratch, char *const array[])
{
    return p->mask_at ? scratch + p->mask_at : array[WHERE];
}

/* Where class i of row r is in scratch. */
static ptrdiff_t staged_at(const plan *p, ptrdiff_t r, ptrdiff_t i)
{
    return p->layout == CSM_COLS ? i * p->stage_rows + r : r * p->n + i;
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

void csm_stage_in(const plan *p, char *scratch, char *const array[], char *at[], ptrdiff_t inputs, ptrdiff_t rows)
{
    const csm_call *c = p->call;
    char *next = scratch;
    for (int k = 0; k < WHERE; k++) {
        at[k] = array[k];
        if (!p->staged[k])
            continue;
        at[k] = k == Y && p->staged[X] && c->op != CSM_JACOBIAN ? at[X] : next;
        next += at[k] == next ? staged_numbers(p, k, p->stage_rows) * csm_itemsize(c->dtype) : 0;
        if (array[k] && (k == X || k == G))
            convert_rows(p, k, at[k], array[k], k == X ? inputs : rows, 0);
    }
    if (p->mask_at)
        convert_rows(p, WHERE, scratch + p->mask_at, array[WHERE], rows, 0);
    if (c->softcap != 0)
        cap_classes(p, at[X], p->slopes_at ? scratch + p->slopes_at : NULL, rows, 0);
    if (c->where.data && c->op == CSM_LOGSUMEXP_B)
        hide_classes(p, G, at[G], mask_of(p, scratch, array), rows, 0);
    else if (c->where.data)
        hide_classes(p, X, at[X], mask_of(p, scratch, array), rows, -HUGE_VAL);
    if (c->where.data && c->op == CSM_KL)
        hide_classes(p, G, at[G], mask_of(p, scratch, array), rows, -HUGE_VAL);
    if (p->smooths)
        smooth_targets(p, at[G], array[G] != NULL, mask_of(p, scratch, array), rows);
}

/* Whether a row of the results y is NaN. Others have what is due where no class takes part: e^-inf, or -inf. */
static int any_nan(const plan *p, const char *y, ptrdiff_t rows)
{
    const ptrdiff_t row_step = p->staged[Y] ? p->n : row_stride(p, Y) / csm_itemsize(p->call->dtype);
    const ptrdiff_t step = p->layout == CSM_COLS ? 1 : row_step;
    int any = 0;
    for (ptrdiff_t r = 0; r < rows && p->n; r++)
        any |= isnan(csm_get(y, p->call->dtype, r * step)) != 0;
    return any;
}

static int is_loss(const csm_call *c) { return c->op == CSM_CROSS_ENTROPY || c->op == CSM_SOFT_CROSS_ENTROPY; }

/* The loss of a row without classes, in which each has the probability 0. */
static double loss_of_nothing(const plan *p, const char *g, ptrdiff_t row, ptrdiff_t r)
{
    const csm_dtype dtype = p->call->dtype;
    const row_data *per_row = &p->per_row;
    double loss = p->call->z_loss != 0 ? p->call->z_loss * HUGE_VAL : 0;
    for (ptrdiff_t at = row * p->slots; per_row->label && at < (row + 1) * p->slots; at++) {
        const double c = per_row->coefficient ? csm_get(per_row->coefficient, dtype, at) : per_row->label[at] >= 0;
        loss += c != 0 ? c * HUGE_VAL : 0;
    }
    for (ptrdiff_t i = 0; g && i < p->n; i++) {
        const double t = csm_get(g, dtype, staged_at(p, r, i));
        const double w = per_row->weight ? csm_get(per_row->weight, dtype, i) : 1;
        loss += t != 0 && w != 0 ? t * w * HUGE_VAL : 0;
    }
    return loss == 0 ? 0 : loss * (per_row->sample_weight ? per_row->sample_weight[row] : 1);
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
                                            : c->op == CSM_SELECTIVE || c->op == CSM_TOP_K ? -HUGE_VAL : 0);
}

void csm_stage_out(const plan *p, char *scratch, char *const array[], char *const at[], char *results, ptrdiff_t first,
                   ptrdiff_t within, ptrdiff_t rows)
{
    const csm_call *c = p->call;
    const char *const where = c->where.data ? mask_of(p, scratch, array) : NULL;
    if (where && results && c->op != CSM_LOGSUMEXP_B)
        fill_empty_rows(p, where, at[G], results, first, rows);
    if (c->softcap != 0 && at[Y])
        cap_classes(p, at[Y], scratch + p->slopes_at, rows, 1);
    if (where && at[Y] && (is_loss(c) || any_nan(p, at[Y], rows)))
        hide_classes(p, Y, at[Y], where, rows, c->op == CSM_LOG_SOFTMAX ? -HUGE_VAL : 0);
    if (p->staged[Y] && p->run_axes > 1)
        write_jacobians(p, at[Y], array[Y], within, rows);
    else if (p->staged[Y])
        convert_rows(p, Y, at[Y], array[Y], rows, 1);
    if (p->staged[H])
        convert_rows(p, H, at[H], array[H], rows, 1);
}
