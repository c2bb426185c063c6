/* Cuts a call into blocks that a kernel takes: arranges the axes, stages what is not plain, checks labels,
   splits the rows over threads, reduces losses. Includes kernels.h, convert.h, threads.h. */
#include "convert.h"
#include "kernels.h"
#include "threads.h"

#include <float.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of scratch a thread stages rows in: they stay in the second-level cache. */
#define STAGE_BYTES (256 * 1024)

/* Elements after which signals are looked for: some 20 ms on one core. */
#define SLICE_ELEMENTS ((ptrdiff_t)1 << 24)

/* Threads take rows by this many, so that no two of them write to one cache line where rows are adjacent. */
#define ROW_GRAIN 64

enum { X, G, Y, OPERANDS };

/* Axes in the order in which they are computed, largest stride of x first, joined where all operands allow it. */
typedef struct {
    int ndim;
    ptrdiff_t shape[CSM_MAX_NDIM];
    ptrdiff_t stride[OPERANDS][CSM_MAX_NDIM];   /* bytes */
} axes;

typedef struct {
    csm_call *call;
    const csm_table *table;
    csm_array operand[OPERANDS];
    ptrdiff_t count, n, run;            /* rows, classes, rows that follow each other at one stride */
    int run_axes;                       /* axes of rows in a run: 1, or 2 of joined Jacobians */
    int layout;                         /* CSM_ALONG, CSM_ACROSS */
    int staged[OPERANDS];               /* operands that go through scratch; only CSM_ALONG */
    ptrdiff_t stage_rows;
    size_t stage_row_bytes;             /* of one row of one operand */
    int threads;
    char *scratch;                      /* of all threads */
    size_t scratch_bytes;               /* of one */
    ptrdiff_t *label;                   /* the checked private copy, in computing order */
    char *result;                       /* one `real` per row, in computing order */
    double scale;
    ptrdiff_t begin, end;               /* the rows of this slice */
    csm_fpenv env;                      /* the caller's */
    axes rows, classes;
    ptrdiff_t position[CSM_MAX_NDIM];   /* of a row in computing order, per step along the call's axes */
} plan;

static ptrdiff_t product(const ptrdiff_t *shape, int ndim)
{
    ptrdiff_t p = 1;
    for (int i = 0; i < ndim; i++)
        p *= shape[i];
    return p;
}

static ptrdiff_t distance(ptrdiff_t stride) { return stride < 0 ? -stride : stride; }

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

/* The stride of an operand along the last axis of rows, or along the classes if there is one axis of them. */
static ptrdiff_t row_stride(const plan *p, int k) { return p->rows.ndim ? p->rows.stride[k][p->rows.ndim - 1] : 0; }
static ptrdiff_t class_stride(const plan *p, int k) { return p->classes.ndim ? p->classes.stride[k][0] : 0; }

static void choose_layout(plan *p)
{
    const ptrdiff_t size = csm_itemsize(p->call->dtype);
    int along = p->classes.ndim <= 1, across = along && p->table->kernel[p->call->op][CSM_ACROSS] != NULL;
    int plain[OPERANDS], adjacent[OPERANDS];
    for (int k = 0; k < OPERANDS; k++) {
        plain[k] = !p->operand[k].data || is_plain(p, k);
        adjacent[k] = p->n <= 1 || class_stride(p, k) == size;
        if (p->operand[k].data) {
            along = along && plain[k] && adjacent[k];
            across = across && plain[k] && row_stride(p, k) == size;
        }
    }
    p->layout = !along && across && 2 * p->run >= p->table->lanes ? CSM_ACROSS : CSM_ALONG;
    for (int k = 0; k < OPERANDS; k++)
        p->staged[k] = p->layout == CSM_ALONG && p->operand[k].data
                       && !(plain[k] && adjacent[k] && p->classes.ndim <= 1);
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

static void make_plan(plan *p, csm_call *c)
{
    memset(p, 0, offsetof(plan, rows));
    p->call = c;
    p->table = csm_table_of(c->dtype);
    p->operand[X] = c->x;
    p->operand[G] = c->g;
    p->operand[Y] = c->y;
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
    ptrdiff_t position = 1;
    for (int i = c->ndim - 1; i >= 0; i--) {
        p->position[row_order[i]] = position;
        position *= c->shape[row_order[i]];
    }
    choose_layout(p);
    if (c->op == CSM_JACOBIAN && p->rows.ndim > 1 && !p->staged[X] && !p->staged[Y])
        join_jacobians(p);
}

/* Where the index-th of the elements counted over `ndim` axes lies. */
static ptrdiff_t offset_of(ptrdiff_t index, int ndim, const ptrdiff_t *shape, const ptrdiff_t *stride)
{
    ptrdiff_t offset = 0;
    for (int i = ndim - 1; i >= 0; i--) {
        offset += index % shape[i] * stride[i];
        index /= shape[i];
    }
    return offset;
}

/* `rows` rows of operand k between the array, from `far` on, and adjacent rows at `near`: in, or back. */
static void convert_rows(const plan *p, int k, char *near, char *far, ptrdiff_t rows, int back)
{
    const csm_array *a = &p->operand[k];
    const axes *c = &p->classes;
    const csm_dtype dtype = p->call->dtype;
    const int outer = c->ndim > 1 ? c->ndim - 1 : 0;
    const ptrdiff_t inner = c->ndim ? c->shape[outer] : 1, step = c->ndim ? c->stride[k][outer] : 0;
    const ptrdiff_t lines = product(c->shape, outer), bytes = inner * csm_itemsize(dtype);
    for (ptrdiff_t r = 0; r < rows; r++, far += row_stride(p, k))
        for (ptrdiff_t i = 0; i < lines; i++, near += bytes) {
            char *line = far + offset_of(i, outer, c->shape, c->stride[k]);
            if (back)
                csm_write(line, a->dtype, a->swapped, step, near, dtype, inner);
            else
                csm_read(near, dtype, line, a->dtype, a->swapped, step, inner);
        }
}

/* Rows [first, first + rows) of the plan, which lie on one run of the last axis of rows. */
static void compute_block(const plan *p, ptrdiff_t first, ptrdiff_t rows, char *scratch)
{
    const ptrdiff_t size = csm_itemsize(p->call->dtype), stage = p->stage_rows * p->n * size;
    const ptrdiff_t lead = first / p->run, i = first % p->run;
    const int is_jacobian = p->call->op == CSM_JACOBIAN;
    char *at[OPERANDS] = {NULL}, *address[OPERANDS] = {NULL};
    ptrdiff_t stride[OPERANDS] = {0};
    for (int k = 0; k < OPERANDS; k++) {
        if (!p->operand[k].data)
            continue;
        address[k] = at[k] = (char *)p->operand[k].data
                             + offset_of(lead, p->rows.ndim - p->run_axes, p->rows.shape, p->rows.stride[k])
                             + offset_of(i, p->run_axes, p->rows.shape + p->rows.ndim - p->run_axes,
                                         p->rows.stride[k] + p->rows.ndim - p->run_axes);
        stride[k] = (p->layout == CSM_ALONG ? row_stride(p, k) : class_stride(p, k)) / size;
        if (p->staged[k]) {
            at[k] = scratch;
            scratch += stage;
            stride[k] = p->n;
            if (k != Y)
                convert_rows(p, k, at[k], address[k], is_jacobian && k == X ? 1 : rows, 0);
        }
    }
    if (is_jacobian)
        stride[X] = p->run_axes == 2 ? p->rows.stride[X][p->rows.ndim - 2] / size : 0;
    csm_block block = {
        .rows = rows, .n = p->n, .all_rows = p->count, .first = p->n ? i % p->n : 0,
        .x = at[X], .g = at[G], .y = at[Y], .xs = stride[X], .gs = stride[G], .ys = stride[Y],
        .r = p->result ? p->result + first * size : NULL,
        .label = p->label ? p->label + first : NULL,
        .temperature = p->call->temperature, .scale = p->scale,
    };
    p->table->kernel[p->call->op][p->layout](&block);
    if (p->staged[Y])
        convert_rows(p, Y, at[Y], address[Y], rows, 1);
}

static ptrdiff_t grain_of(const plan *p) { return p->layout == CSM_ACROSS ? ROW_GRAIN : 1; }

/* Share i of the current slice. */
static void compute_share(void *job, int i)
{
    const plan *p = job;
    const ptrdiff_t grain = grain_of(p);
    const ptrdiff_t grains = (p->end - p->begin + grain - 1) / grain;
    ptrdiff_t row = p->begin + grains * i / p->threads * grain, end = p->begin + grains * (i + 1) / p->threads * grain;
    end = end < p->end ? end : p->end;
    while (row < end) {
        ptrdiff_t rows = p->run - row % p->run;
        rows = rows < end - row ? rows : end - row;
        rows = rows < p->stage_rows ? rows : p->stage_rows;
        compute_block(p, row, rows, p->scratch + (size_t)i * p->scratch_bytes);
        row += rows;
    }
}

/* All labels into the private copy; `valid` counts those not ignored. */
static csm_status take_labels(plan *p, ptrdiff_t *valid)
{
    csm_call *c = p->call;
    csm_labels rule = {.n = p->n, .ignores = c->ignores, .ignored = c->ignore_index};
    const int outer = c->ndim > 1 ? c->ndim - 1 : 0;
    const ptrdiff_t inner = c->ndim ? c->shape[outer] : 1;
    for (ptrdiff_t i = 0; i < p->count; i += inner) {
        const char *src = (const char *)c->target.data + offset_of(i / inner, outer, c->shape, c->target.stride);
        ptrdiff_t *dst = p->label + offset_of(i / inner, outer, c->shape, p->position);
        csm_status status = csm_read_labels(dst, c->ndim ? p->position[outer] : 1, src, c->target.dtype,
                                            c->target.swapped, c->ndim ? c->target.stride[outer] : 0, inner, &rule);
        if (status != CSM_OK) {
            c->bad_row = i + rule.bad;
            memcpy(c->bad_label, rule.text, sizeof rule.text);
            return status;
        }
    }
    *valid = 0;
    for (ptrdiff_t i = 0; i < p->count; i++)
        *valid += p->label[i] >= 0;
    return CSM_OK;
}

/* The results in C order, into the caller's array. */
static void give_results(const plan *p)
{
    const csm_call *c = p->call;
    const int outer = c->ndim > 1 ? c->ndim - 1 : 0;
    const ptrdiff_t inner = c->ndim ? c->shape[outer] : 1, size = csm_itemsize(c->dtype);
    for (ptrdiff_t i = 0; i < p->count; i++) {
        ptrdiff_t lead = i / inner, j = i % inner;
        char *dst = (char *)c->r.data + offset_of(lead, outer, c->shape, c->r.stride);
        const char *src = p->result + offset_of(lead, outer, c->shape, p->position) * size;
        csm_write(dst + (c->ndim ? j * c->r.stride[outer] : 0), c->r.dtype, c->r.swapped, 0,
                  src + (c->ndim ? j * p->position[outer] * size : 0), c->dtype, 1);
    }
}

/* Whether the caller's array can take the results as the kernels write them. */
static int results_fit(const plan *p)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(c->dtype);
    int fit = c->r.data && c->r.dtype == c->dtype && !c->r.swapped && !((uintptr_t)c->r.data % (size_t)size);
    for (int i = 0; i < c->ndim && fit; i++)
        fit = c->shape[i] == 1 || c->r.stride[i] == p->position[i] * size;
    return fit;
}

/* Pairwise over blocks of eight strided sums: the order depends on the count alone, the error grows with its log. */
static double sum_of(const void *real, csm_dtype dtype, ptrdiff_t begin, ptrdiff_t end)
{
    if (end - begin > 64) {
        ptrdiff_t middle = begin + (end - begin) / 2;
        return sum_of(real, dtype, begin, middle) + sum_of(real, dtype, middle, end);
    }
    double s[8] = {0};
    for (ptrdiff_t i = begin; i < end; i++)
        s[(i - begin) % 8] += dtype == CSM_F32 ? ((const float *)real)[i] : ((const double *)real)[i];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* 1/(T divisor), kept where the scale of the exponentials is finite and so times 0 is 0: p/T overflows before. */
static double gradient_scale(const csm_call *c, double divisor)
{
    const double scale = 1 / (c->temperature * divisor), most = c->dtype == CSM_F32 ? 0x1p150 : DBL_MAX;
    return scale < most ? scale : most;
}

static csm_status run_slices(plan *p)
{
    const ptrdiff_t work = p->n > 0 ? p->n : 1;
    ptrdiff_t rows = SLICE_ELEMENTS / work * p->threads;
    rows = rows < ROW_GRAIN * p->threads ? ROW_GRAIN * p->threads : rows;
    for (p->begin = 0; p->begin < p->count; p->begin = p->end) {
        if (p->begin && p->call->poll) {
            csm_fpenv_leave(p->env);
            int stop = p->call->poll();
            p->env = csm_fpenv_enter();
            if (stop)
                return CSM_INTERRUPTED;
        }
        p->end = p->count - p->begin < rows ? p->count : p->begin + rows;
        csm_parallel(p->threads, compute_share, p);
    }
    return CSM_OK;
}

csm_status csm_run(csm_call *c)
{
    plan p;
    make_plan(&p, c);
    p.env = csm_fpenv_enter();
    const ptrdiff_t size = csm_itemsize(c->dtype);
    const int is_loss = c->op == CSM_CROSS_ENTROPY || c->op == CSM_SOFT_CROSS_ENTROPY;
    const int has_result = is_loss || c->op == CSM_LOGSUMEXP;
    csm_status status = CSM_OK;
    ptrdiff_t valid = p.count;
    void *own_result = NULL;

    if (c->op == CSM_CROSS_ENTROPY) {
        p.label = malloc((size_t)p.count * sizeof *p.label + 1);
        status = p.label ? take_labels(&p, &valid) : CSM_NO_MEMORY;
    }
    if (status == CSM_OK && has_result) {
        p.result = results_fit(&p) ? c->r.data : (own_result = malloc((size_t)(p.count * size) + 1));
        status = p.result ? CSM_OK : CSM_NO_MEMORY;
    }
    p.threads = csm_threads_for(p.count * p.n, (p.count + grain_of(&p) - 1) / grain_of(&p));
    const ptrdiff_t staged = p.staged[X] + p.staged[G] + p.staged[Y], row_bytes = staged * p.n * size;
    p.stage_rows = staged ? (row_bytes < STAGE_BYTES ? STAGE_BYTES / (row_bytes + 1) + 1 : 1) : PTRDIFF_MAX;
    if (staged && status == CSM_OK) {
        p.stage_rows = p.stage_rows < p.count ? p.stage_rows : p.count;
        p.scratch_bytes = (size_t)(p.stage_rows * row_bytes + 63) / 64 * 64;
        p.scratch = malloc((size_t)p.threads * p.scratch_bytes + 1);
        status = p.scratch ? CSM_OK : CSM_NO_MEMORY;
    }

    if (status == CSM_OK) {
        const double divisor = c->reduction == CSM_MEAN ? (double)valid : 1;
        p.scale = valid ? gradient_scale(c, divisor) : 0;
        status = run_slices(&p);
        if (status == CSM_OK && c->loss) {
            *c->loss = sum_of(p.result, c->dtype, 0, p.count) / divisor;
            *c->loss = c->dtype == CSM_F32 ? (float)*c->loss : *c->loss;
        }
        if (status == CSM_OK && c->r.data && own_result)
            give_results(&p);
    }
    free(p.scratch);
    free(own_result);
    free(p.label);
    csm_fpenv_leave(p.env);
    return status;
}

void csm_set_num_threads(int n) { atomic_store(&csm_thread_limit, n); }
int csm_has_openmp(void) { return HAS_OPENMP; }
int csm_get_num_threads(void) { return csm_max_threads(); }
void csm_guard_forks(void) { guard_forks(); }
void csm_forget_fork(void) { atomic_store(&csm_forked, 0); }
