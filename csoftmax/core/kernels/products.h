/* Products with the Jacobians of softmax and log_softmax, from probabilities p. In a block x is p.

     VJP        y = p (g - sum p g)/T      softmax forward and backward, its Jacobian being symmetric
     LOG_JVP    y = (g - sum p g)/T        log_softmax forward
     LOG_VJP    y = (g - p sum g)/T        log_softmax backward

   The g of a p of at least 1/2, the pivot c, is taken off every g first: next to one-hot g - sum p g would cancel.

   Sums over a row are those of p (g - c), or of g, and are divided by T at last: h = (g - c)/T has an error of its own.
   They are made four terms at a time in `real`, two where T is not 1, and of these in the accumulator: a four is
   rounded by itself, so that the error does not grow with the row. Rows of few classes are summed in `real`, as a tree.
   Where such a sum may have overflowed or lost terms to underflow it is made again, all in the accumulator. Measured:
   docs/notes/products.md. */
#ifndef CSM_PRODUCTS_H
#define CSM_PRODUCTS_H

#include "reduce_lanes.h"
#include "stream.h"
#include "tile.h"

enum { VJP, LOG_JVP, LOG_VJP };

/* What is computed; `op` and `T_is_1` (T = 1) are constants wherever these functions are inlined. */
typedef struct {
    int op, T_is_1;
    const temp_consts *t;
} product_job;

/* The job of row r of V_LANES that have their own temperatures: temp_consts_of_rows keeps those of each row behind
   those of the lanes. */
CSM_INLINE product_job job_of(const product_job *j, const csm_block *b, ptrdiff_t r)
{
    return (product_job){j->op, j->T_is_1, !j->T_is_1 && b->temperatures ? j->t + 1 + r : j->t};
}

/* g and c are 2^-k times what they are called where T = T' 2^k is above 1: their difference overflows only where h
   does. */
CSM_INLINE vec scaled(const product_job *j, vec g) { return j->T_is_1 ? g : v_mul(g, j->t->shrink); }

CSM_INLINE vec quotient(const product_job *j, vec v)
{
    if (j->T_is_1)
        return v;
    vec u = v_mul(v, j->t->inv);
    return v_add(u, quotient_rest(v, u, j->t));
}

/* What is summed, with p or without: T' h. */
CSM_INLINE vec term(const product_job *j, vec g, vec c)
{
    const vec v = j->op == LOG_VJP ? g : v_sub(g, c);
    return j->T_is_1 ? v : v_mul(v, j->t->grow);
}

/* A sum of terms over T'. */
CSM_INLINE vec total(const product_job *j, acc sum)
{
    const vec s = a_round(sum);
    if (j->T_is_1)
        return s;
    return v_select(v_lt(v_abs(s), v_set(INFINITY)), a_round(a_mul(sum, a_add(a_of(j->t->inv), j->t->inv_lo))), s);
}

/* An entry of y; `sum` is that of p h, or of h. h may overflow where T is tiny: 0 * inf. */
CSM_INLINE vec product_of(const product_job *j, vec p, vec h, vec sum)
{
    if (j->op == LOG_VJP)
        return v_fnma(p, sum, h);
    vec v = v_sub(h, sum);
    if (j->op == LOG_JVP)
        return v;
    v = v_mul(p, v);
    return j->T_is_1 ? v : v_where(v_ne(p, v_set(0)), v);
}

/* Whether p is at least 1/2. */
CSM_INLINE mask at_least_half(vec p) { return v_le(v_set((real)0.5), p); }

/* The g of p of at least 1/2, -inf for others. */
CSM_INLINE vec pivot_candidate(vec p, vec g) { return v_select(at_least_half(p), g, v_set(-INFINITY)); }

/* The largest candidate as pivot: 0 where there is none, or none that is finite. */
CSM_INLINE vec finite_or_zero(vec c) { return v_where(v_lt(v_abs(c), v_set(INFINITY)), c); }

/* Whether a sum of fours is not to be trusted: beside terms below 2^-100 underflow shows. A 0 is that of a p that is
   one-hot, or of terms too small to show. */
CSM_INLINE mask needs_exact_sum(vec sum)
{
    const vec size = v_abs(sum), high = v_set((real)0x1p100);
    const vec low = v_where(v_ne(size, v_set(0)), v_set((real)0x1p-100));
    return v_ne(v_max(v_min(size, high), low), size);
}

/* Vectors of p and g one step apart, of `lanes` lanes each: the whole vectors of a row, its last one, or V_LANES rows
   with one a lane; of these `width` side by side, each with sums of its own. `lanes` is V_LANES where it is a constant,
   and `width` always is one. */
typedef struct {
    const elem *p, *g;
    elem *y;
    ptrdiff_t ps, gs, ys;               /* the steps */
    ptrdiff_t count, lanes, ahead;      /* so far ahead arrays are fetched; 0: they are not */
    int width;
} product_cursor;

/* Of step i, the u-th. */
CSM_INLINE vec p_at(const product_cursor *s, ptrdiff_t i, int u)
{
    return load_part(s->p + i * s->ps + u * V_LANES, s->lanes);
}

CSM_INLINE vec g_at(const product_job *j, const product_cursor *s, ptrdiff_t i, int u)
{
    return scaled(j, load_part(s->g + i * s->gs + u * V_LANES, s->lanes));
}

CSM_INLINE vec term_at(const product_job *j, const product_cursor *s, ptrdiff_t i, int u, vec c)
{
    return term(j, g_at(j, s, i, u), c);
}

/* Prefetches what is `ahead` of the u-th vector of a step at `a`: p, g and y in a pass each, so that there are never
   more requests than the CPU keeps. */
CSM_INLINE void fetch(const product_cursor *s, const elem *a, int u, int writes)
{
    if (s->ahead)
        writes ? __builtin_prefetch(a + u * V_LANES + s->ahead, 1) : __builtin_prefetch(a + u * V_LANES + s->ahead);
}

/* Raises c to the candidates. */
CSM_INLINE void pivot_pass(const product_job *j, const product_cursor *s, vec *c)
{
    for (ptrdiff_t i = 0; i < s->count; i++)
        EACH(u, s->width) {
            fetch(s, s->p + i * s->ps, u, 0);
            c[u] = v_max(pivot_candidate(p_at(s, i, u), g_at(j, s, i, u)), c[u]);
        }
}

/* For LOG_VJP there is no pivot pass. */
CSM_INLINE void prefetch_terms(const product_job *j, const product_cursor *s, ptrdiff_t i, int u)
{
    fetch(s, s->g + i * s->gs, u, 0);
    if (j->op == LOG_VJP)
        fetch(s, s->p + i * s->ps, u, 0);
}

/* Adds the terms to the sums; `found` gets the g of likely p, for which fours of vectors are searched only where there
   is one. */
CSM_INLINE void sum_pass(const product_job *j, const product_cursor *s, const vec *c, acc *sum, vec *found)
{
    const vec one = v_set(1);
    ptrdiff_t i = 0;
    for (; i + 4 <= s->count; i += 4)
        EACH(u, s->width) {
            vec h[4], p[4], four;
            EACH(k, 4) prefetch_terms(j, s, i + k, u);
            EACH(k, 4) h[k] = term_at(j, s, i + k, u, c[u]);
            if (j->op == LOG_VJP) {
                four = v_add(v_add(h[0], h[1]), v_add(h[2], h[3]));
            } else {
                EACH(k, 4) p[k] = p_at(s, i + k, u);
                four = v_fma(p[1], h[1], v_mul(p[0], h[0]));
                if (!j->T_is_1)
                    sum[u] = a_add(sum[u], four);
                four = v_fma(p[3], h[3], v_fma(p[2], h[2], j->T_is_1 ? four : v_set(0)));
                if (m_any(at_least_half(v_max(v_max(p[0], p[1]), v_max(p[2], p[3])))))
                    EACH(k, 4) found[u] = v_select(at_least_half(p[k]), g_at(j, s, i + k, u), found[u]);
            }
            sum[u] = a_add(sum[u], four);
        }
    if (i >= s->count)
        return;
    vec four[TILE_VECTORS];
    EACH(u, s->width) four[u] = v_set(0);
    for (; i < s->count; i++)
        EACH(u, s->width) {
            vec p = j->op == LOG_VJP ? one : p_at(s, i, u);
            prefetch_terms(j, s, i, u);
            four[u] = v_fma(p, term_at(j, s, i, u, c[u]), four[u]);
            found[u] = v_select(at_least_half(p), g_at(j, s, i, u), found[u]);
        }
    EACH(u, s->width) sum[u] = a_add(sum[u], four[u]);
}

/* The same for the u-th, where range matters more than time. */
static acc sum_again(const product_job *j, const product_cursor *s, int u, acc sum, vec c)
{
    for (ptrdiff_t i = 0; i < s->count; i++) {
        const vec v = term_at(j, s, i, u, c);
        const vec p = p_at(s, i, u);
        if (j->op == LOG_VJP)
            sum = a_add(sum, v);
        else
            sum = a_add_product(sum, p, j->T_is_1 ? v : v_where(v_ne(p, v_set(0)), v));
    }
    return sum;
}

CSM_INLINE void product_pass(const product_job *j, const product_cursor *s, const vec *c, const vec *sum, int streams)
{
    for (ptrdiff_t i = 0; i < s->count; i++)
        EACH(u, s->width) {
            const vec p = j->op == LOG_JVP ? c[u] : p_at(s, i, u), h = quotient(j, term_at(j, s, i, u, c[u]));
            const vec v = product_of(j, p, h, sum[u]);
            elem *y = s->y + i * s->ys + u * V_LANES;
            if (streams) {
                v_stream(y, v);
            } else {
                fetch(s, s->y + i * s->ys, u, 1);
                store_part(y, v, s->lanes);
            }
        }
}

/* The whole vectors of row `row` from class `from` on, and its last one, if any, that is not. */
CSM_INLINE void product_cursors_of(const csm_block *b, ptrdiff_t row, ptrdiff_t from, product_cursor *whole,
                                   product_cursor *last)
{
    const elem *p = (const elem *)b->x + row * b->xs + from, *g = (const elem *)b->g + row * b->gs + from;
    elem *y = (elem *)b->y + row * b->ys + from;
    const ptrdiff_t count = (b->n - from) / V_LANES, end = count * V_LANES, left = b->n - from - end;
    const product_cursor s = {p, g, y, V_LANES, V_LANES, V_LANES, count, V_LANES, 0, 1};
    const product_cursor t = {p + end, g + end, y + end, 0, 0, 0, left > 0, left, 0, 1};
    *whole = s;
    *last = t;
}

static acc row_again(const product_job *j, const csm_block *b, ptrdiff_t row, vec c)
{
    product_cursor whole, last;
    product_cursors_of(b, row, 0, &whole, &last);
    return a_hsum(sum_again(j, &last, 0, sum_again(j, &whole, 0, a_zero(), c), c));
}

/* In rows, one after another. */
CSM_INLINE void products_rows(const csm_block *b, const product_job *all, temp_consts *t)
{
    const int streams = b->policy.stream_output;
    seam o = {.held = 0};
    for (ptrdiff_t row = 0; row < b->rows; row++) {
        product_cursor whole, last;
        if (!all->T_is_1 && b->temperatures && row % V_LANES == 0)
            temp_consts_of_rows(t, b->temperatures + row, b->rows - row < V_LANES ? b->rows - row : V_LANES, 1);
        const product_job of_row = job_of(all, b, row % V_LANES), *const j = &of_row;
        product_cursors_of(b, row, 0, &whole, &last);
        vec c = v_set(0), found = v_set(-INFINITY);
        acc sum = a_zero();
        sum_pass(j, &whole, &c, &sum, &found);
        sum_pass(j, &last, &c, &sum, &found);
        if (j->op != LOG_VJP && m_any(v_ne(found, v_set(-INFINITY)))) {
            c = finite_or_zero(v_hmax(found));
            sum = a_zero();
            sum_pass(j, &whole, &c, &sum, &found);
            sum_pass(j, &last, &c, &sum, &found);
        }
        sum = a_hsum(sum);
        if (m_any(needs_exact_sum(a_round(sum))))
            sum = row_again(j, b, row, c);
        const vec s = total(j, sum);
        if (streams) {
            elem *const y = whole.y;
            const ptrdiff_t before = misaligned(y, V_LANES);
            const product_cursor head = {whole.p, whole.g, before_row(&o, y), 0, 0, 0, before > 0, before, 0, 1};
            product_cursors_of(b, row, before, &whole, &last);
            product_pass(j, &head, &c, &s, 0);
            write_seam(&o, y);
            product_pass(j, &whole, &c, &s, 1);
            last.y = after_row(&o, last.y, last.lanes, b->ys == b->n && row + 1 < b->rows);
        } else {
            product_pass(j, &whole, &c, &s, 0);
        }
        product_pass(j, &last, &c, &s, 0);
    }
    if (streams)
        v_drain();
}

/* In columns, a row in each lane. A row gets the same result whatever rows are beside it. */
CSM_INLINE void products_of_lanes(const product_job *j, const product_cursor *s, int streams)
{
    vec c[TILE_VECTORS], found[TILE_VECTORS], sum[TILE_VECTORS];
    acc sums[TILE_VECTORS];
    EACH(u, s->width) found[u] = v_set(0);
    EACH(u, s->width) c[u] = v_set(j->op == LOG_VJP ? 0 : -INFINITY);
    EACH(u, s->width) sums[u] = a_zero();
    if (j->op != LOG_VJP) {
        pivot_pass(j, s, c);
        EACH(u, s->width) c[u] = finite_or_zero(c[u]);
    }
    sum_pass(j, s, c, sums, found);
    EACH(u, s->width) {
        const mask again = needs_exact_sum(a_round(sums[u]));
        sum[u] = total(j, sums[u]);
        if (m_any(again))
            sum[u] = v_select(again, total(j, sum_again(j, s, u, a_zero(), c[u])), sum[u]);
    }
    product_pass(j, s, c, sum, streams);
}

/* Rows [row, row + lanes) of a block, a class in each step, and those of width - 1 row vectors more. */
CSM_INLINE product_cursor product_cursor_cols(const csm_block *b, ptrdiff_t row, ptrdiff_t lanes, int width)
{
    const int is_tile = b->xs == TILE_ROWS;
    return (product_cursor){(const elem *)b->x + row, (const elem *)b->g + row, (elem *)b->y + row, b->xs, b->gs, b->ys,
                   b->n, lanes, is_tile ? 0 : TILES_AHEAD * V_LANES, width};
}

/* Rows to where y begins a cache line, if results are written by non-temporal stores; else -1. Lines that are written
   in parts would be read first. */
CSM_INLINE ptrdiff_t rows_to_line(const csm_block *b)
{
    enum { LINE = CSM_LINE / sizeof(elem) };
    return b->ys % LINE || !b->policy.stream_output ? -1 : misaligned(b->y, LINE);
}

/* Full tiles while there are so many rows, where T = 1; else, and of what is left, one row vector after another. */
CSM_INLINE void products_cols(const csm_block *b, const product_job *j, temp_consts *t)
{
    const int width = j->T_is_1 ? TILE_VECTORS : 1;
    const ptrdiff_t head = rows_to_line(b), full = width * V_LANES;
    ptrdiff_t rows;
    for (ptrdiff_t row = 0; row < b->rows; row += rows) {
        const ptrdiff_t left = (row < head ? head : b->rows) - row;
        rows = left >= full ? full : left < V_LANES ? left : V_LANES;
        if (!j->T_is_1 && b->temperatures)
            temp_consts_of_rows(t, b->temperatures + row, rows, 0);
        if (rows == full) {
            const product_cursor s = product_cursor_cols(b, row, V_LANES, width);
            products_of_lanes(j, &s, head >= 0);
        } else {
            const product_cursor s = product_cursor_cols(b, row, rows, 1);
            products_of_lanes(j, &s, 0);
        }
    }
    if (head >= 0)
        v_drain();
}

#endif
