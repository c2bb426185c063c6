/* Arranges the axes of a call and chooses how it is computed. Includes plan.h. */
#include "plan.h"

#include <stdint.h>

/* Bytes of scratch a thread stages rows in: they stay in the first-level cache, unless one row is more. */
#define STAGE_BYTES (32 * 1024)

/* Rows that lie side by side are staged so unless ROW_GRAIN of them take more than this. */
#define MOST_STAGE_BYTES (1024 * 1024)

/* A class of a row takes no more bytes of scratch: four arrays, twice x for Jacobians, slopes, and its mask. */
#define MOST_CLASS_BYTES 64

/* Classes so many bytes apart share the sets of the first-level cache, which hold ALIASED of them at most: each pass
   would fetch them anew. Their rows are staged: softmax along axis 0 of (128, 4096) float32 takes 1.0 instead of 2.1 ns
   per element (Zen 5, 2026-11-22). */
enum { PAGE = 4096, ALIASED = 16 };

/* Up to so many classes of float32 go across: a lane counts the logits that equal the largest one by one, and 2^24 + 1
   is no float32. Along they are counted by parts. */
#define MOST_ACROSS ((ptrdiff_t)1 << 24)

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

static void choose_layout(plan *p)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(c->dtype);
    const int changes = c->where.data || c->softcap != 0;       /* x and y */
    int along = p->classes.ndim <= 1, plain[OPERANDS], adjacent[OPERANDS];
    int across = along && p->table->kernel[c->op][CSM_ACROSS], others = 0, arrays = 0;
    for (int k = 0; k < WHERE; k++) {
        plain[k] = !p->operand[k].data || is_plain(p, k);
        adjacent[k] = p->n <= 1 || class_stride(p, k) == size;
        if (p->operand[k].data) {
            along = along && plain[k] && adjacent[k];
            across = across && row_stride(p, k) == csm_itemsize(p->operand[k].dtype);
            others += !plain[k] || (changes && (k == X || k == Y));
            arrays++;
        }
    }
    across = across && (c->dtype == CSM_F64 || p->n <= MOST_ACROSS);
    across = across && (!others || p->n <= MOST_STAGE_BYTES / (others * size * ROW_GRAIN));
    p->layout = !along && across && 2 * p->run >= p->table->lanes ? CSM_ACROSS : CSM_ALONG;
    p->staged[WHERE] = 0;
    const int aliases = p->layout == CSM_ACROSS && p->n > ALIASED && distance(class_stride(p, X)) % PAGE == 0
                        && p->n <= MOST_STAGE_BYTES / (arrays * size * ROW_GRAIN);
    for (int k = 0; k < WHERE; k++)
        p->staged[k] = !plain[k] || (aliases && p->operand[k].data) || (p->layout == CSM_ALONG && p->operand[k].data
                                     && !(adjacent[k] && p->classes.ndim <= 1));
    p->staged[X] |= changes;
    p->staged[Y] |= changes && c->y.data;
    p->staged[G] |= c->op == CSM_KL && c->where.data;
}

/* Jacobians whose rows follow each other evenly make one run; x stands still within each and moves between them. */
static void join_jacobians(plan *p)
{
    const int last = p->rows.ndim - 1;
    if (p->rows.stride[Y][last - 1] == p->rows.stride[Y][last] * p->n) {
        p->run *= p->rows.shape[last - 1];
        p->run_axes = 2;
    }
}

/* Scratch of a thread: x and y share theirs, but for Jacobians; g and h have their own. So have slopes and `where`,
   unless a row is so long that it is alone there: then slopes are computed twice, and a mask is used as it lies if it
   can be. Where scratch holds ROW_GRAIN rows and more, it takes whole grains of them: no wide batch is cut. */
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
    const int is_long = p->layout == CSM_ALONG && numbers * size > STAGE_BYTES / 2;
    const int line = p->classes.ndim <= 1 && class_stride(p, WHERE) == 1;
    const ptrdiff_t slopes = p->call->softcap != 0 && p->call->y.data && !is_long ? p->n * size : 0;
    const ptrdiff_t mask = p->call->where.data && !(is_long && line) ? p->n : 0;
    const ptrdiff_t row = numbers * size + slopes + mask;
    const ptrdiff_t fit = row ? (STAGE_BYTES - none * size) / row : 0, least = grain_of(p);
    const ptrdiff_t most = fit >= ROW_GRAIN ? fit / ROW_GRAIN * ROW_GRAIN : fit > least ? fit : least;
    p->stage_rows = most < p->count ? most : p->count;
    const ptrdiff_t slopes_at = (p->stage_rows * numbers + none) * size, mask_at = slopes_at + p->stage_rows * slopes;
    p->slopes_at = slopes ? slopes_at : 0;
    p->mask_at = mask ? mask_at : 0;
    p->stage_bytes = (mask_at + p->stage_rows * mask + CSM_LINE - 1) / CSM_LINE * CSM_LINE;
}

void csm_make_plan(plan *p, csm_call *c)
{
    p->call = c;
    p->given = (row_data){0};
    p->table = csm_table_of(c->dtype);
    p->operand[X] = c->x;
    p->operand[G] = c->g;
    p->operand[Y] = c->y;
    p->operand[H] = c->h;
    p->operand[WHERE] = c->where;
    int row_order[CSM_MAX_NDIM], class_order[CSM_MAX_NDIM], sorts = c->op != CSM_JACOBIAN;
    sort_axes(c, 0, sorts ? c->ndim : 0, row_order);
    sort_axes(c, c->ndim, c->nclass, class_order);
    for (int i = 0; i < c->ndim && !sorts; i++)
        row_order[i] = i;
    take_axes(&p->rows, p, c->ndim, row_order, sorts);
    take_axes(&p->classes, p, c->nclass, class_order, 1);
    p->count = product(c->shape, c->ndim);
    p->n = product(c->shape + c->ndim, c->nclass);
    p->run = p->rows.ndim ? p->rows.shape[p->rows.ndim - 1] : 1;
    p->run_axes = p->rows.ndim > 0;
    p->slots = c->slots ? c->slots : 1;
    p->results = c->op == CSM_SELECTIVE ? p->slots : 1;
    ptrdiff_t position = 1;
    for (int i = c->ndim - 1; i >= 0; i--) {
        p->position[row_order[i]] = position;
        position *= c->shape[row_order[i]];
    }
    choose_layout(p);
    if (c->op == CSM_JACOBIAN && p->rows.ndim > 1 && !p->staged[Y])
        join_jacobians(p);
    measure_stage(p);
}
