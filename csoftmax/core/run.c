/* Runs a call: splits its rows into slices, chunks and blocks that a kernel takes, and polls between the slices.
   Includes plan.h, parallel.h, math/product.h. */
#include "math/product.h"
#include "parallel.h"
#include "plan.h"
#include "tuning.h"

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static ptrdiff_t ceil_div(ptrdiff_t a, ptrdiff_t b) { return a / b + (a % b != 0); }

static double hessian_factor(csm_hessian rule, ptrdiff_t n)
{
    return rule == CSM_UPPER ? 2 : rule == CSM_FRIEDMAN ? (double)n / (double)(n - 1) : 1;
}

/* A positive floor is one as stored, too: at least the least number of the Hessian's dtype. */
static double hessian_floor(const csm_call *c)
{
    const double least = c->h.dtype == CSM_F16 ? 0x1p-24 : c->h.dtype == CSM_BF16 ? 0x1p-133
                       : c->dtype == CSM_F32 ? 0x1p-149 : 0;
    return c->hessian_floor > 0 && c->hessian_floor < least ? least : c->hessian_floor;
}

/* Where 1 - p is less, (1 - p)^gamma (1 - p), which bounds all that it makes, is 0 in float64. */
static double focal_least(const csm_call *c)
{
    return c->focal_gamma != 0 ? ldexp(1, (int)(-1080 / (c->focal_gamma + 1)) - 1) : 0;
}

/* A block of rows [first, first + rows) of the plan, without its arrays. */
static csm_block block_of(const plan *p, ptrdiff_t first, ptrdiff_t rows)
{
    const csm_call *c = p->call;
    const row_data *g = &p->per_row;
    const ptrdiff_t size = csm_itemsize(c->dtype);
    const double smoothing = p->smooths ? 0 : c->label_smoothing;       /* else it is in g */
    return (csm_block){
        .rows = rows, .n = p->n,
        .r = g->result ? (char *)g->result + first * p->results * csm_itemsize(csm_result_dtype(c)) : NULL,
        .results = p->results, .factors = c->op == CSM_LOGSUMEXP_B, .sums = c->loss != NULL,
        .label = g->label ? g->label + first * p->slots : NULL, .slots = p->slots,
        .ignored = g->ignored ? g->ignored + first * p->slots : NULL, .ignores = g->ignored != NULL,
        .coefficient = g->coefficient ? (char *)g->coefficient + first * p->slots * size : NULL,
        .weight = g->weight,
        .sample_weight = g->sample_weight ? g->sample_weight + first : NULL,
        .one_minus_eps = 1 - smoothing, .eps_over_n = p->n ? smoothing / (double)p->n : 0,
        .z_loss = c->z_loss / g->weight_scale,
        .hessian_factor = hessian_factor(c->hessian, p->n), .hessian_floor = hessian_floor(c),
        .residual = c->hessian == CSM_RESIDUAL,
        .temperature = c->temperature,
        .temperatures = g->temperatures ? g->temperatures + first : NULL,
        .scale = p->scale, .scale_rest = p->scale_rest, .loss_scale = g->weight_scale,
        .focal_gamma = c->focal_gamma, .focal_least = focal_least(c),
    };
}

/* A thread's part in a row that threads share. */
static void run_phases(csm_kernel *kernel, const csm_block *b, csm_team *team, csm_place *place)
{
    for (team->phase = CSM_FIND_MAX; team->phase < CSM_PHASES; team->phase++) {
        kernel(b);
        csm_meet(place);
    }
}

/* Rows [first, first + rows) of the plan, which lie on one run of the last axis of rows. */
static void compute_block(const plan *p, ptrdiff_t first, ptrdiff_t rows, char *scratch, csm_team *team,
                          csm_place *place)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(c->dtype);
    const ptrdiff_t lead = first < p->run ? 0 : first / p->run, i = first - lead * p->run;
    const int lead_axes = p->rows.ndim - p->run_axes;
    char *at[OPERANDS] = {NULL}, *array[OPERANDS] = {NULL};
    ptrdiff_t stride[OPERANDS] = {0};
    for (int k = 0; k < OPERANDS; k++) {
        if (p->operand[k].data)
            array[k] = (char *)p->operand[k].data
                     + offset_of(lead, lead_axes, p->rows.shape, p->rows.stride[k])
                     + offset_of(i, p->run_axes, p->rows.shape + lead_axes, p->rows.stride[k] + lead_axes);
        stride[k] = p->layout == CSM_ROWS ? (p->staged[k] ? p->n : row_stride(p, k) / size)
                                           : (p->staged[k] ? p->stage_rows : class_stride(p, k) / size);
    }
    const ptrdiff_t within = c->op == CSM_JACOBIAN ? i % p->n : 0;      /* the first row's number in its Jacobian */
    csm_stage_in(p, scratch, array, at, c->op == CSM_JACOBIAN ? (within + rows - 1) / p->n + 1 : rows, rows);
    csm_block block = block_of(p, first, rows);
    block.first = within;
    block.team = team;
    block.x = at[X], block.g = at[G], block.y = at[Y], block.h = at[H];
    block.xs = stride[X], block.gs = stride[G], block.ys = stride[Y], block.hs = stride[H];
    const ptrdiff_t thread_rows = p->stage_bytes ? rows : ceil_div(p->end - p->begin, p->threads);
    csm_kernel *const kernel = csm_choose_kernel(&block, p->table, c->op, p->layout, p->count, thread_rows);
    if (team)
        run_phases(kernel, &block, team, place);
    else
        kernel(&block);
    if (c->op == CSM_LOGSUMEXP_B && (!team || team->me == 0))
        csm_settle_sums(&block, c->dtype, p->layout);
    csm_stage_out(p, scratch, array, at, block.r, first, within, rows);
}

/* Chunk i of the current slice. */
static void compute_chunk(void *job, ptrdiff_t i, int me)
{
    const plan *p = job;
    ptrdiff_t row = p->begin + i * p->chunk_rows, end = row + p->chunk_rows;
    end = end < p->end ? end : p->end;
    while (row < end) {
        ptrdiff_t rows = row < p->run ? p->run - row : p->run - row % p->run;
        rows = rows < end - row ? rows : end - row;
        rows = rows < p->stage_rows ? rows : p->stage_rows;
        compute_block(p, row, rows, p->scratch ? p->scratch + me * p->stage_bytes : NULL, NULL, NULL);
        row += rows;
    }
}

/* In numbers of long rows. */
static ptrdiff_t work_of_row(const plan *p) { return p->n + p->slots * ROW_WORK; }

/* In float32 numbers of long rows. */
static ptrdiff_t work_of(const plan *p)
{
    const ptrdiff_t size = csm_itemsize(p->call->dtype);
    const ptrdiff_t numbers = p->call->offset ? csm_work_of_segments(p) : csm_times(p->count, work_of_row(p));
    return csm_times(numbers, size) / csm_itemsize(CSM_F32);
}

/* Fewer rows than threads, and long ones that kernels take as they are: all threads share each. */
static int shares_rows(const plan *p)
{
    const int splits = p->call->op <= CSM_GRAD_HESS && p->layout == CSM_ROWS && !p->stage_bytes && !p->call->offset;
    return splits && p->n >= 2 * CSM_WORK_PER_THREAD && p->count < csm_get_num_threads();
}

static void compute_together(void *job, csm_place *place, int me, int threads)
{
    const plan *p = job;
    csm_team team = {.threads = threads, .me = me, .exchange = (double *)p->scratch};
    for (ptrdiff_t row = p->begin; row < p->end; row++)
        compute_block(p, row, 1, NULL, &team, place);
}

/* w/(T D), w a power of two, and in *rest what its rounding loses. Finite. */
static double gradient_scale(const csm_call *c, double divisor, double w, double *rest)
{
    const double T = c->temperatures.data ? 1 : c->temperature, d = T * divisor;
    *rest = 0;
    if (d == 1)
        return w;
    const double scale = 1 / d, size = fabs(d);
    if (size > 0x1p-900 && size < 0x1p900) {
        const double one = scale * d;
        *rest = (1 - one - product_error(scale, d, one) - scale * product_error(T, divisor, d)) / d * w;
    }
    return fmax(-DBL_MAX, fmin(scale * w, DBL_MAX));
}

/* Rows of a chunk of the current slice: many rows by full tiles. */
static ptrdiff_t rows_of_chunk(const plan *p)
{
    const ptrdiff_t rows = p->end - p->begin, least = CHUNK_ELEMENTS / (p->n + p->slots) + 1;
    if (p->threads == 1)
        return rows;
    const ptrdiff_t even = ceil_div(rows, (ptrdiff_t)p->threads * CHUNKS_PER_THREAD);
    const ptrdiff_t size = even > least ? even : least, most = size > 2 * ROW_GRAIN ? ROW_GRAIN : 1;
    const ptrdiff_t grain = most > p->grain ? most : p->grain;
    return ceil_div(size, grain) * grain;
}

int csm_is_stopped(plan *p)
{
    if (!p->call->poll)
        return 0;
    csm_fpenv_leave(p->env);
    const int stop = p->call->poll();
    p->env = csm_fpenv_enter();
    return stop;
}

static csm_status run_slices(plan *p)
{
    const ptrdiff_t fit = SLICE_ELEMENTS / work_of_row(p), rows = (fit > p->grain ? fit : p->grain) * p->threads;
    for (p->begin = 0; p->begin < p->count; p->begin = p->end) {
        if (p->begin && csm_is_stopped(p))
            return CSM_INTERRUPTED;
        p->end = p->count - p->begin < rows ? p->count : p->begin + rows;
        p->chunk_rows = rows_of_chunk(p);
        if (p->together)
            csm_gather(p->threads, compute_together, p);
        else
            csm_parallel_for(p->threads, ceil_div(p->end - p->begin, p->chunk_rows), compute_chunk, p);
    }
    return CSM_OK;
}

/* The rows of a call on one row: those of its Jacobian are the last axis of rows, n of them. */
static ptrdiff_t rows_of_one(const csm_call *c) { return c->op == CSM_JACOBIAN ? c->shape[c->ndim] : 1; }

/* Whether a call is one plain row of few classes without options, or its Jacobian. It needs no plan, which would take
   as long. */
static int is_one_row(const csm_call *c)
{
    const csm_array *const rows[] = {&c->x, &c->g, &c->y, &c->h};
    const ptrdiff_t size = csm_itemsize(c->dtype), n = c->shape[c->ndim], step = n * size;
    const int squares = c->op == CSM_JACOBIAN;
    if (c->op == CSM_LOGSUMEXP_B || c->offset || c->nclass != 1 || n * rows_of_one(c) > ONE_ROW || c->slots
        || c->prob.data || c->where.data || c->temperatures.data || c->weight.data || c->sample_weight.data
        || c->label_smoothing != 0 || c->has_softcap || (c->has_normalizer && c->normalizer == 0)
        || (squares && c->y.stride[c->ndim - 1] != step))
        return 0;
    for (int i = 0; i < c->ndim - squares; i++)
        if (c->shape[i] != 1)
            return 0;
    for (int k = 0; k < 4; k++)
        if (rows[k]->data && (rows[k]->dtype != c->dtype || rows[k]->swapped || rows[k]->stride[c->ndim] != size
                              || ((uintptr_t)rows[k]->data & (uintptr_t)(size - 1))))
            return 0;
    return 1;
}

/* What the label of one row nearly always is: a native int64, a class and not the one to be ignored. */
static int is_plain_label(const csm_call *c, ptrdiff_t n, ptrdiff_t *label)
{
    int64_t v;
    if (c->target.dtype != CSM_I64 || c->target.swapped)
        return 0;
    memcpy(&v, c->target.data, sizeof v);
    *label = (ptrdiff_t)v;
    return v >= 0 && v < n && !(c->ignores && v == c->ignore_index);
}

static csm_status take_label(csm_call *c, ptrdiff_t n, ptrdiff_t *label)
{
    if (is_plain_label(c, n, label))
        return CSM_OK;
    csm_labels rule = {.n = n, .ignores = c->ignores, .ignored = c->ignore_index};
    const csm_array *a = &c->target;
    const csm_status status = csm_read_labels(label, 1, a->data, a->dtype, a->swapped, 0, 1, &rule);
    if (status != CSM_OK) {
        c->bad_row = 0;
        memcpy(c->bad_label, rule.text, sizeof rule.text);
    }
    return status;
}

/* Whether y is a gradient that has a scale: of a loss, an entropy or an expectation. */
static int is_scaled(csm_op op)
{
    return op == CSM_ENTROPY || op == CSM_CROSS_ENTROPY || op == CSM_SOFT_CROSS_ENTROPY || op == CSM_GRAD_HESS
           || op == CSM_KL || op == CSM_EXPECTATION;
}

static csm_status run_one_row(csm_call *c)
{
    const ptrdiff_t n = c->shape[c->ndim];
    ptrdiff_t label = 0;
    union { float single; double loss; } result = {.loss = 0};       /* loss: one that is reduced */
    double scale_rest = 0;
    const csm_status status = c->target.data ? take_label(c, n, &label) : CSM_OK;
    if (status != CSM_OK)
        return status;
    const double divisor = c->reduction != CSM_MEAN ? 1 : c->has_normalizer ? c->normalizer : label >= 0;
    const int has_scale = label >= 0 && c->y.data && is_scaled(c->op);
    const double scale = has_scale ? gradient_scale(c, divisor, 1, &scale_rest) : 0;
    _Alignas(CSM_LINE) csm_block block = {
        .rows = rows_of_one(c), .n = n,
        .x = c->x.data, .g = c->g.data, .y = c->y.data, .h = c->h.data,
        .xs = n, .gs = n, .ys = n, .hs = n, .r = &result, .results = 1, .sums = c->loss != NULL,
        .label = c->target.data ? &label : NULL, .ignored = &label, .slots = 1, .ignores = label < 0,
        .one_minus_eps = 1, .z_loss = c->z_loss, .temperature = c->temperature, .loss_scale = 1,
        .hessian_factor = hessian_factor(c->hessian, n), .hessian_floor = hessian_floor(c),
        .residual = c->hessian == CSM_RESIDUAL,
        .scale = scale, .scale_rest = scale_rest,
        .focal_gamma = c->focal_gamma, .focal_least = focal_least(c),
    };
    csm_choose_kernel(&block, csm_table_of(c->dtype), c->op, CSM_ROWS, block.rows, block.rows)(&block);
    if (c->loss)
        *c->loss = csm_rounded(result.loss / divisor, c->dtype);
    if (c->r.data && c->r.dtype == c->dtype && !c->r.swapped)
        memcpy(c->r.data, &result, (size_t)csm_itemsize(c->dtype));
    else if (c->r.data)
        csm_write(c->r.data, c->r.dtype, c->r.swapped, 0, &result, c->dtype, 1);
    return CSM_OK;
}

/* All rows of a plan, by as many threads as they are worth. */
static csm_status run_rows(plan *p)
{
    p->together = shares_rows(p);
    p->threads = csm_threads_for(work_of(p), p->together ? PTRDIFF_MAX : ceil_div(p->count, p->grain));
    const ptrdiff_t parts = p->together ? p->n / (CSM_SEGMENT * p->table->vectors.lanes) + 1 : 0;
    const ptrdiff_t bytes = p->together ? csm_times(p->threads + parts, CSM_EXCHANGE * sizeof(double))
                                        : csm_times(p->threads, p->stage_bytes);
    /* Scratch begins a line: as malloc gives it, vectors would cross lines or not as it happens. */
    char *const memory = bytes && bytes < PTRDIFF_MAX ? malloc((size_t)bytes + CSM_LINE) : NULL;
    if (bytes && !memory)
        return CSM_NO_MEMORY;
    p->scratch = memory ? memory + CSM_LINE - (uintptr_t)memory % CSM_LINE : NULL;
    p->scale = p->scale_rest = 0;
    if (p->per_row.valid)
        p->scale = gradient_scale(p->call, p->per_row.divisor, p->per_row.weight_scale, &p->scale_rest);
    csm_block first = block_of(p, 0, 1);        /* of rows of various lengths */
    first.x = p->call->x.data, first.g = p->call->g.data, first.y = p->call->y.data;
    const csm_status status = p->call->offset ? csm_run_segments(p, &first) : run_slices(p);
    free(memory);
    return status;
}

static csm_status run_plan(csm_call *c, csm_fpenv *env)
{
    plan p;
    csm_make_plan(&p, c);
    p.env = *env;
    const int empty = !p.count || !p.n;
    csm_status status = empty || p.stage_bytes < PTRDIFF_MAX ? csm_take_rows(&p) : CSM_NO_MEMORY;
    if (status == CSM_OK && empty)
        csm_clear_results(&p);
    else if (status == CSM_OK)
        status = run_rows(&p);
    if (status == CSM_OK)
        csm_give_results(&p);
    csm_free_rows(&p);
    *env = p.env;
    return status;
}

/* All arithmetic on numbers lies between the two: what the caller has set for its own has no part in it. */
csm_status csm_run(csm_call *c)
{
    csm_fpenv env = csm_fpenv_enter();
    csm_status status = csm_check_options(c);
    if (status == CSM_OK)
        status = is_one_row(c) ? run_one_row(c) : run_plan(c, &env);
    csm_fpenv_leave(env);
    return status;
}

#if defined(__x86_64__)
int csm_fpenv_keeps_flags;
void csm_keep_flags(int keep) { csm_fpenv_keeps_flags = keep; }
#else
void csm_keep_flags(int keep) { (void)keep; }
#endif
