/* Per-row data of a call: labels and what they count, weights, temperatures; adjacent and in computing order. Labels
   are always copied, since another thread may change the caller's after they were checked; other numbers, and the
   results, where the caller's are not in that order. */
#include "lines.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Memory for `count` entries of `size` bytes; NULL if there is none. */
static void *plan_alloc(plan *p, ptrdiff_t count, ptrdiff_t size)
{
    row_data *g = &p->per_row;
    const size_t bytes = (size_t)csm_times(count, size);
    if (bytes <= sizeof p->inline_buffer - g->used) {
        char *memory = (char *)p->inline_buffer + g->used;
        g->used += (bytes + 7) / 8 * 8;
        return memory;
    }
    owned *o = bytes < PTRDIFF_MAX ? malloc(sizeof *o + bytes) : NULL;
    if (!o)
        return NULL;
    o->before = g->last;
    g->last = o;
    return o->memory;
}

/* Whether an array holds `each` numbers of a dtype per row as they are computed. */
static int in_order(const plan *p, const csm_array *a, csm_dtype dtype, ptrdiff_t each)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(dtype);
    int fit = a->data && a->dtype == dtype && !a->swapped && !((uintptr_t)a->data % (size_t)size);
    for (int i = 0; i < c->ndim && fit; i++)
        fit = c->shape[i] == 1 || a->stride[i] == p->position[i] * each * size;
    return fit && (each == 1 || a->stride[c->ndim] == size);
}

/* One float64 per row: the array itself, or a copy; NULL if there is none, or no memory (*status). */
static const double *take_numbers(plan *p, const csm_array *a, csm_status *status)
{
    if (!a->data || in_order(p, a, CSM_F64, 1))
        return a->data;
    const lines l = lines_of(p);
    double *copy = plan_alloc(p, p->count, sizeof *copy);
    if (!copy)
        *status = CSM_NO_MEMORY;
    for (ptrdiff_t i = 0; copy && i < p->count / (l.inner ? l.inner : 1); i++) {
        const char *src = line_of(p, a, i, &l);
        double *dst = copy + line_start(p, i, &l);
        for (ptrdiff_t j = 0; j < l.inner; j++)
            memcpy(dst + j * l.step, src + j * last_stride(p, a), sizeof *dst);
    }
    return copy;
}

/* All labels, those of a line of rows by slots, or row by row where that makes fewer and longer runs; the first bad one
   in C order is reported. Counts the rows that are not ignored, of one label each. */
static csm_status take_labels(plan *p)
{
    csm_call *c = p->call;
    csm_labels rule = {.n = p->n, .ignores = c->ignores, .ignored = c->ignore_index};
    const lines l = lines_of(p);
    const ptrdiff_t next_row = last_stride(p, &c->target), next_slot = c->slots ? c->target.stride[c->ndim] : 0;
    const int by_rows = p->slots > l.inner;
    const ptrdiff_t runs = by_rows ? l.inner : p->slots, count = by_rows ? p->slots : l.inner;
    csm_status bad = CSM_OK;
    for (ptrdiff_t i = 0; i * l.inner < p->count; i++) {
        for (ptrdiff_t run = 0; run < runs; run++) {
            const char *src = line_of(p, &c->target, i, &l) + run * (by_rows ? next_row : next_slot);
            ptrdiff_t *dst = p->per_row.label + (line_start(p, i, &l) + (by_rows ? run * l.step : 0)) * p->slots;
            csm_status status = csm_read_labels(by_rows ? dst : dst + run, by_rows ? 1 : l.step * p->slots, src,
                                                c->target.dtype, c->target.swapped,
                                                by_rows ? next_slot : next_row, count, &rule);
            ptrdiff_t at = i * l.inner * p->slots + (by_rows ? run * count + rule.bad : rule.bad * runs + run);
            if (status != CSM_OK && (bad == CSM_OK || at < c->bad_row)) {
                bad = status;
                c->bad_row = at;
                memcpy(c->bad_label, rule.text, sizeof rule.text);
            }
        }
        if (bad != CSM_OK)
            return bad;
    }
    p->per_row.valid = p->count - rule.skipped;
    return CSM_OK;
}

/* Of rows of various lengths: they were read as classes of the longest row that there can be. */
static csm_status check_lengths(plan *p, csm_status status)
{
    csm_call *c = p->call;
    const ptrdiff_t count = status == CSM_OK ? p->count : c->bad_row;
    for (ptrdiff_t row = 0; row < count; row++) {
        const ptrdiff_t label = p->per_row.label[row];
        if (label >= c->offset[row + 1] - c->offset[row]) {
            c->bad_row = row;
            snprintf(c->bad_label, sizeof c->bad_label, "%lld", (long long)label);
            return CSM_BAD_LABEL;
        }
    }
    return status;
}

/* A power of two amid the weights, where these are far from 1 but not from each other: divided by it, weights of 1e39,
   which no float32 is, are some. */
static double scale_of(const double *weight, ptrdiff_t n)
{
    double most = 0, least = INFINITY;
    int exponent;
    for (ptrdiff_t j = 0; j < n; j++) {
        const double size = fabs(weight[j]);
        most = size > most && size < INFINITY ? size : most;
        least = size < least && size > 0 ? size : least;
    }
    if (most == 0 || (most < 0x1p60 && least > 0x1p-60) || most / least > 0x1p120)
        return 1;
    frexp(sqrt(most) * sqrt(least), &exponent);
    return ldexp(1, exponent);
}

/* Class weights in the dtype of the computation. */
static csm_status take_weights(plan *p)
{
    const csm_call *c = p->call;
    const double *weight = c->weight.data;
    row_data *g = &p->per_row;
    if (!(g->weight = plan_alloc(p, p->n, csm_itemsize(c->dtype))))
        return CSM_NO_MEMORY;
    g->weight_scale = scale_of(weight, p->n);
    for (ptrdiff_t j = 0; j < p->n; j++)
        csm_put(g->weight, c->dtype, j, weight[j] / g->weight_scale);
    return CSM_OK;
}

/* What a label of probability `prob` counts: that times its class's weight and what smoothing leaves of it. Nothing of
   a label counts nothing, whatever the weight. */
static double counts_of(const plan *p, ptrdiff_t label, double prob)
{
    const csm_call *c = p->call;
    const double *weight = c->weight.data;
    const double one_minus_eps = 1 - c->label_smoothing;
    if (label < 0 || prob == 0 || one_minus_eps == 0)
        return 0;
    return prob * (one_minus_eps * (weight ? weight[label] / p->per_row.weight_scale : 1));
}

static void take_coefficients(plan *p)
{
    const csm_call *c = p->call;
    const ptrdiff_t *label = p->per_row.label;
    const lines l = lines_of(p);
    for (ptrdiff_t at = 0; !c->prob.data && at < p->count * p->slots; at++)
        csm_put(p->per_row.coefficient, c->dtype, at, counts_of(p, label[at], 1));
    for (ptrdiff_t i = 0; c->prob.data && i * l.inner < p->count; i++)
        for (ptrdiff_t j = 0; j < l.inner; j++)
            for (ptrdiff_t slot = 0; slot < p->slots; slot++) {
                const ptrdiff_t at = (line_start(p, i, &l) + j * l.step) * p->slots + slot;
                double prob;
                memcpy(&prob, line_of(p, &c->prob, i, &l) + j * last_stride(p, &c->prob)
                              + (c->slots ? slot * c->prob.stride[c->ndim] : 0), sizeof prob);
                csm_put(p->per_row.coefficient, c->dtype, at, counts_of(p, label[at], prob));
            }
}

/* A row of several labels is ignored if all are; the kernels look at the first, so one that is not is brought there. */
static void count_rows(plan *p)
{
    row_data *g = &p->per_row;
    g->valid = 0;
    for (ptrdiff_t row = 0; row < p->count; row++) {
        ptrdiff_t *label = g->label + row * p->slots, slot = 0;
        while (slot < p->slots && label[slot] < 0)
            slot++;
        if (slot == p->slots)
            continue;
        g->valid++;
        if (slot == 0)
            continue;
        label[0] = label[slot];
        label[slot] = -1;
        if (g->coefficient) {
            csm_put(g->coefficient, p->call->dtype, row * p->slots,
                     csm_get(g->coefficient, p->call->dtype, row * p->slots + slot));
            csm_put(g->coefficient, p->call->dtype, row * p->slots + slot, 0);
        }
    }
}

/* Rows of weight 0 are ignored, though they count in the mean. Of probabilities, `ignored` is an array of its own. */
static csm_status ignore_weightless(plan *p)
{
    row_data *g = &p->per_row;
    ptrdiff_t row = 0;
    while (row < p->count && g->sample_weight[row] != 0)
        row++;
    if (row == p->count)
        return CSM_OK;
    g->ignored = g->label;
    if (!g->ignored && !(g->ignored = plan_alloc(p, p->count, sizeof *g->ignored)))
        return CSM_NO_MEMORY;
    if (!g->label)
        memset(g->ignored, 0, (size_t)p->count * sizeof *g->ignored);
    for (; row < p->count; row++)
        for (ptrdiff_t at = row * p->slots; g->sample_weight[row] == 0 && at < (row + 1) * p->slots; at++) {
            g->ignored[at] = -1;
            if (g->coefficient)
                csm_put(g->coefficient, p->call->dtype, at, 0);
        }
    return CSM_OK;
}

csm_status csm_take_rows(plan *p)
{
    csm_call *c = p->call;
    row_data *g = &p->per_row;
    const ptrdiff_t size = csm_itemsize(c->dtype), labels = csm_times(p->count, p->slots);
    csm_status status = c->temperatures.data ? csm_check_temperatures(c) : CSM_OK;
    if (status != CSM_OK)
        return status;
    g->valid = p->count;
    g->weight_scale = 1;
    if (c->weight.data && (status = take_weights(p)) != CSM_OK)
        return status;
    if (c->op == CSM_TOP_K) {
        g->label = c->target.data;
    } else if (c->target.data) {
        if (!(g->label = plan_alloc(p, labels, sizeof *g->label)))
            return CSM_NO_MEMORY;
        status = take_labels(p);
        if (c->offset)
            status = check_lengths(p, status);
        if (status != CSM_OK)
            return status;
        if (c->weight.data || c->prob.data || c->label_smoothing != 0) {
            if (!(g->coefficient = plan_alloc(p, labels, size)))
                return CSM_NO_MEMORY;
            take_coefficients(p);
        }
        if (p->slots > 1 && c->op != CSM_SELECTIVE)
            count_rows(p);
    }
    if ((status = csm_check_normalizer(c, g->valid)) != CSM_OK)
        return status;
    if (g->valid < p->count && c->op != CSM_SELECTIVE)     /* there each label has a result of its own */
        g->ignored = g->label;
    g->divisor = csm_divisor_of(p);
    if (p->n) {
        g->temperatures = take_numbers(p, &c->temperatures, &status);
        g->sample_weight = take_numbers(p, &c->sample_weight, &status);
    }
    if (status == CSM_OK && g->sample_weight)
        status = ignore_weightless(p);
    if (status != CSM_OK)
        return status;
    if (c->r.data || c->loss) {
        const csm_dtype dtype = csm_result_dtype(c);
        const int fit = in_order(p, &c->r, dtype, p->results);
        g->result = fit ? c->r.data : plan_alloc(p, csm_times(p->count, p->results), csm_itemsize(dtype));
        status = g->result ? status : CSM_NO_MEMORY;
    }
    return status;
}

csm_status csm_check(csm_call *c, ptrdiff_t *label)
{
    const csm_fpenv env = csm_fpenv_enter();
    csm_status status = csm_check_options(c);
    if (status == CSM_OK && c->temperatures.data)
        status = csm_check_temperatures(c);
    if (status == CSM_OK && label) {
        plan p;
        csm_make_plan(&p, c);       /* keeps the order of axes along which x stands still */
        p.per_row.label = label;
        status = take_labels(&p);
    }
    csm_fpenv_leave(env);
    return status;
}

void csm_free_rows(plan *p)
{
    for (owned *o = p->per_row.last, *before; o; o = before) {
        before = o->before;
        free(o);
    }
}
