/* Losses per row to what the caller asked for: what a mean divides by, sums whose order depends on the number of rows
   alone, and results in the caller's order. */
#include "lines.h"

#include <math.h>
#include <string.h>

/* D of the mean: the weights of the labels, or the rows, that are not ignored. */
double csm_divisor_of(const plan *p)
{
    const csm_call *c = p->call;
    const double *weight = c->weight.data;
    double sum = 0, low = 0;
    if (c->reduction != CSM_MEAN)
        return 1;
    if (c->has_normalizer)
        return c->normalizer != 0 ? c->normalizer : 1;      /* of no rows */
    if (!weight || c->op != CSM_CROSS_ENTROPY || c->prob.data)
        return (double)p->per_row.valid;
    for (ptrdiff_t row = 0; row < p->count; row++) {
        const ptrdiff_t label = p->per_row.label[row];
        const double w = label < 0 ? 0 : weight[label], s = sum + w, t = s - sum;
        low += (sum - (s - t)) + (w - t);
        sum = s;
    }
    return sum + low;
}

void csm_clear_results(const plan *p)
{
    const int is_log = p->call->op == CSM_LOGSUMEXP || p->call->op == CSM_LOGSUMEXP_B;
    for (ptrdiff_t i = 0; p->per_row.result && i < p->count * p->results; i++)
        csm_put(p->per_row.result, csm_result_dtype(p->call), i, is_log && i % p->results == 0 ? -HUGE_VAL : 0);
}

/* The sum times `scale`. Pairwise over few numbers at a time, all but the last as many: the order depends on the count
   alone, the error grows with its log. */
static double sum_of(const double *v, ptrdiff_t count, double scale)
{
    ptrdiff_t first = SUM_BLOCK;
    while (2 * first < count)
        first *= 2;
    if (first < count)
        return sum_of(v, first, scale) + sum_of(v + first, count - first, scale);
    double inline_buffer[SUM_BLOCK] = {0}, s[8] = {0};
    memcpy(inline_buffer, v, (size_t)count * sizeof *v);
    for (int i = 0; scale != 1 && i < SUM_BLOCK; i++)
        inline_buffer[i] *= scale;
    for (int i = 0; i < SUM_BLOCK; i += 8)
        _Pragma("GCC unroll 8") for (int k = 0; k < 8; k++)    /* in memory they would wait for each other */
            s[k] += inline_buffer[i + k];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

/* Their sum over a divisor, which may be finite where the sum is not: 2^64 brings that of as many into range. */
static double mean_of(const double *v, ptrdiff_t count, double divisor)
{
    const double sum = sum_of(v, count, 1);
    return isfinite(sum) ? sum / divisor : sum_of(v, count, 0x1p-64) / divisor * 0x1p64;
}

void csm_give_results(const plan *p)
{
    const csm_call *c = p->call;
    const ptrdiff_t size = csm_itemsize(c->dtype);
    const lines l = lines_of(p);
    if (c->loss)
        *c->loss = csm_rounded(mean_of(p->per_row.result, p->count, p->per_row.divisor), c->dtype);
    if (!c->r.data || p->per_row.result == c->r.data)
        return;
    for (ptrdiff_t i = 0; i * l.inner < p->count; i++)
        for (ptrdiff_t j = 0; j < l.inner; j++)
            csm_write(line_of(p, &c->r, i, &l) + j * last_stride(p, &c->r), c->r.dtype, c->r.swapped,
                      p->results > 1 ? c->r.stride[c->ndim] : 0,
                      (const char *)p->per_row.result + (line_start(p, i, &l) + j * l.step) * p->results * size,
                      c->dtype, p->results);
}
