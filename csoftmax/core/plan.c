/* Arranges the axes of a call and chooses how it is computed. Includes plan.h. */
#include "plan.h"
#include "tuning.h"

#include <stdint.h>

static ptrdiff_t product(const ptrdiff_t *shape, int ndim)
{
    ptrdiff_t p = 1;
    for (int i = 0; i < ndim; i++)
        p = csm_times(p, shape[i]);
    return p;
}

/* Sorts `ndim` axes of the call from `first` on, by x's stride, into `order`. */
static void sort_axes(const csm_call *c, int first, int ndim, int *order)
{
    for (int i = 0; i < ndim; i++) {
        int j = i;
        for (; j > 0 && distance(c->x.stride[order[j - 1]]) < distance(c->x.stride[first + i]); j--)
            order[j] = order[j - 1];
        order[j] = first + i;
    }
}

/* Takes the axes in `order`; joins neighbours that one stride serves in every operand, if asked. */
static void take_axes(axes *a, const plan *p, int ndim, const int *order, int join)
{
    a->ndim = 0;
    for (int i = 0; i < ndim; i++) {
        int axis = order[i], last = a->ndim - 1, joins = join && last >= 0;
        ptrdiff_t length = p->call->shape[axis];
        if (join && length == 1)
            continue;
        for (int k = 0; k < OPERANDS; k++)
            if (joins && p->operand[k].data)
                joins = a->stride[k][last] == p->operand[k].stride[axis] * length;
        if (joins)
            a->shape[last] *= length;
        else
            a->shape[last = a->ndim++] = length;
        for (int k = 0; k < OPERANDS; k++)
            a->stride[k][last] = p->operand[k].data ? p->operand[k].stride[axis] : 0;
    }
}

/* Whether every stride is a whole number of aligned native elements of the computation's dtype. */
static int is_plain(const plan *p, int k)
{
    const csm_array *a = &p->operand[k];
    ptrdiff_t size = csm_itemsize(p->call->dtype);
    if (a->dtype != p->call->dtype || a->swapped || (uintptr_t)a->data % (size_t)size)
        return 0;
    for (int i = 0; i < p->rows.ndim; i++)
        if (p->rows.stride[k][i] % size)
            return 0;
    for (int i = 0; i < p->classes.ndim; i++)
        if (p->classes.stride[k][i] % size)
            return 0;
    return 1;
}

/* Rows that are staged at a time where those of an operand lie side by side: as many as MOST_STAGE_BYTES hold, or one
   by one where these have fewer than LEAST_BESIDE adjacent bytes. */
static ptrdiff_t grain_for(const plan *p)
{
    const ptrdiff_t each = p->call->op == CSM_JACOBIAN ? p->n : 1;      /* rows of a Jacobian go together */
    ptrdiff_t bytes = 0, grain = ROW_GRAIN;
    if (p->layout == CSM_COLS)
        return ROW_GRAIN;
    int beside = each > 1 && p->staged[Y] && p->run_axes > 1;
    for (int k = 0; k < WHERE; k++)
        if (p->staged[k]) {
            bytes += each * p->n * csm_itemsize(p->call->dtype);
            beside |= each == 1 && lines_are_closer(row_stride(p, k), line_stride(p, k), p->run, p->n);
        }
    while (grain > 1 && grain * bytes > MOST_STAGE_BYTES)
        grain /= 2;
    return beside && (each > 1 || grain * csm_itemsize(p->call->dtype) >= LEAST_BESIDE) ? grain * each : 1;
}

/* Columns where the rows of x are adjacent and its classes are not, if there are enough rows and their scratch is small
   enough; otherwise rows. The bits do not depend on the other operands or their memory order. */
static void choose_layout(plan *p)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(c->dtype);
    int changes[OPERANDS] = {[X] = c->softcap != 0, [Y] = c->softcap != 0 && c->y.data};
    p->smooths = c->where.data && c->label_smoothing != 0;
    changes[c->op == CSM_LOGSUMEXP_B ? G : X] |= c->where.data != NULL;
    changes[G] |= p->smooths || (c->where.data && c->g.data);
    const int one_axis = p->classes.ndim <= 1;
    int adjacent[OPERANDS], beside[OPERANDS], plain[OPERANDS];
    int all = 1, adjacent_rows = 0, others = p->smooths && !c->g.data, arrays = 0;
    for (int k = 0; k < WHERE; k++) {
        const csm_array *const a = &p->operand[k];
        plain[k] = adjacent[k] = beside[k] = 1;
        if (!a->data)
            continue;
        const ptrdiff_t native = csm_itemsize(a->dtype);
        plain[k] = is_plain(p, k);
        adjacent[k] = one_axis && (p->n <= 1 || class_stride(p, k) == native);
        beside[k] = row_stride(p, k) == native;
        if (k == X)
            adjacent_rows = distance(row_stride(p, k)) == native && p->n > 1 && distance(line_stride(p, k)) != native;
        others += !plain[k] || !beside[k] || changes[k];
        all &= plain[k] && adjacent[k];
        arrays++;
    }
    const int by_cols = one_axis && adjacent_rows && p->table->kernel[c->op][CSM_COLS]
                       && (c->dtype == CSM_F64 || p->n <= MOST_COLUMN_CLASSES)
                       && (!others || p->n <= MOST_STAGE_BYTES / (others * size * ROW_GRAIN));
    p->layout = !all && by_cols && p->run >= (p->table->vectors.lanes + 1) / 2 ? CSM_COLS : CSM_ROWS;
    const int aliases = p->layout == CSM_COLS && p->n > ALIASED && distance(class_stride(p, X)) % PAGE == 0
                        && p->n <= MOST_STAGE_BYTES / (arrays * size * ROW_GRAIN);
    for (int k = 0; k < WHERE; k++)
        p->staged[k] = !plain[k] || (aliases && p->operand[k].data)
                       || !(p->layout == CSM_ROWS ? adjacent[k] : beside[k]) || changes[k];
    p->staged[WHERE] = 0;
}

/* A Jacobian is symmetric: of the strides of its rows and its columns the larger one may lead from row to row. */
static void transpose_jacobians(plan *p)
{
    ptrdiff_t *const row = &p->rows.stride[Y][p->rows.ndim - 1], *const column = &p->classes.stride[Y][0];
    if (p->n > 1 && distance(*row) < distance(*column)) {
        const ptrdiff_t smaller = *row;
        *row = *column;
        *column = smaller;
    }
}

/* Jacobians whose rows follow each other evenly make one run; x stands still within each and moves between them. So do
   those that lie side by side, of which scratch holds several. */
static void join_jacobians(plan *p)
{
    const int last = p->rows.ndim - 1;
    const ptrdiff_t *const stride = p->rows.stride[Y], least = 2 * p->n * p->n * csm_itemsize(p->call->dtype);
    const int beside = lines_are_closer(stride[last - 1], class_stride(p, Y), p->rows.shape[last - 1], p->n);
    if (p->staged[Y] ? beside && least <= MOST_STAGE_BYTES : stride[last - 1] == stride[last] * p->n) {
        p->run *= p->rows.shape[last - 1];
        p->run_axes = 2;
    }
}

/* Scratch of a thread: x and y share theirs, but for Jacobians; g, h and slopes have their own. So has `where`, unless
   a row is so long that it is alone there and its mask can be used as it lies. Where scratch holds ROW_GRAIN rows and
   more, it takes whole groups of them: no full tile is cut. */
static void measure_stage(plan *p)
{
    const int shared = p->staged[X] && p->staged[Y] && p->call->op != CSM_JACOBIAN;
    const ptrdiff_t size = csm_itemsize(p->call->dtype);
    ptrdiff_t arrays = 0, none = 0, numbers = shared ? -p->n : 0;       /* numbers of no row, and a row more */
    for (int k = 0; k < WHERE; k++)
        arrays += p->staged[k] != 0;
    p->stage_rows = PTRDIFF_MAX;
    p->stage_bytes = 0;
    p->slopes_at = p->mask_at = 0;
    if (!arrays)
        return;
    if (csm_times(p->n, MOST_CLASS_BYTES * ROW_GRAIN) == PTRDIFF_MAX) {
        p->stage_bytes = PTRDIFF_MAX;
        return;
    }
    for (int k = 0; k < WHERE; k++)
        if (p->staged[k]) {
            none += staged_numbers(p, k, 0);
            numbers += staged_numbers(p, k, 1) - staged_numbers(p, k, 0);
        }
    const int is_long = p->layout == CSM_ROWS && numbers * size > STAGE_BYTES / 2;
    const int line = p->classes.ndim <= 1 && class_stride(p, WHERE) == 1;
    const ptrdiff_t slopes = p->call->softcap != 0 && p->call->y.data ? p->n * size : 0;
    const ptrdiff_t mask = p->call->where.data && !(is_long && line) ? p->n : 0;
    const ptrdiff_t row = numbers * size + slopes + mask;
    const ptrdiff_t fit = row ? (STAGE_BYTES - none * size) / row : 0, least = p->grain;
    const ptrdiff_t whole = least > ROW_GRAIN ? least : ROW_GRAIN;
    const ptrdiff_t most = fit >= whole ? fit / whole * whole : fit > least ? fit : least;
    p->stage_rows = most < p->count ? most : p->count;
    const ptrdiff_t slopes_at = (p->stage_rows * numbers + none) * size, mask_at = slopes_at + p->stage_rows * slopes;
    p->slopes_at = slopes ? slopes_at : 0;
    p->mask_at = mask ? mask_at : 0;
    p->stage_bytes = (mask_at + p->stage_rows * mask + CSM_LINE - 1) / CSM_LINE * CSM_LINE;
}

void csm_make_plan(plan *p, csm_call *c)
{
    p->call = c;
    p->per_row = (row_data){0};
    p->table = csm_table_of(c->dtype);
    p->operand[X] = c->x;
    p->operand[G] = c->g;
    p->operand[Y] = c->y;
    p->operand[H] = c->h;
    p->operand[WHERE] = c->where;
    const int joins = c->op != CSM_JACOBIAN, sorts = joins && c->op != CSM_TOP_K;       /* its labels are in C order */
    int row_order[CSM_MAX_NDIM], class_order[CSM_MAX_NDIM];
    sort_axes(c, 0, sorts ? c->ndim : 0, row_order);
    sort_axes(c, c->ndim, c->nclass, class_order);
    for (int i = 0; i < c->ndim && !sorts; i++)
        row_order[i] = i;
    take_axes(&p->rows, p, c->ndim, row_order, joins);
    take_axes(&p->classes, p, c->nclass, class_order, 1);
    p->count = product(c->shape, c->ndim);
    p->n = product(c->shape + c->ndim, c->nclass);
    p->run = p->rows.ndim ? p->rows.shape[p->rows.ndim - 1] : 1;
    p->run_axes = p->rows.ndim > 0;
    p->slots = c->slots ? c->slots : 1;
    p->results = c->op == CSM_SELECTIVE || c->op == CSM_TOP_K ? p->slots : c->op == CSM_LOGSUMEXP_B ? 2 : 1;
    ptrdiff_t position = 1;
    for (int i = c->ndim - 1; i >= 0; i--) {
        p->position[row_order[i]] = position;
        position *= c->shape[row_order[i]];
    }
    if (c->op == CSM_JACOBIAN)
        transpose_jacobians(p);
    choose_layout(p);
    if (c->op == CSM_JACOBIAN && p->rows.ndim > 1)
        join_jacobians(p);
    p->grain = grain_for(p);
    measure_stage(p);
}
