/* Jacobians of softmax from probabilities p, one after another: row i of that of p is -p_i p/T, and
   p_i (1 - p_i)/T on the diagonal, where 1 - p_i of a p_i above 1/2 is the sum of the others: subtraction would show
   the rounding of p_i. The block begins at row `first` of the first p; the p are xs apart.
   Measured: docs/notes/products.md. */
#ifndef CSM_JACOBIAN_H
#define CSM_JACOBIAN_H

#include "../math/underflow.h"
#include "short_products.h"
#include "stream.h"
#include "transpose.h"

/* The p above 1/2, NaN if there is none, and the sum of the others: what a diagonal needs. */
typedef struct { vec top, rest; } dominant;

typedef struct {
    const elem *p;
    ptrdiff_t full, left;       /* vectors before the last; classes in the last */
    vec last;                   /* 0 past the end                               */
    int any_small;              /* a p is so small that a product of two may be below the normal range */
    dominant dominant;
} distribution;

/* Which p are small, but not 0. */
CSM_INLINE mask small_p(vec p)
{
    return v_lt(v_select(v_eq(p, v_set(0)), v_set(1), p), v_set(real_power(-RANGE_BITS / 2)));
}

/* An entry off the diagonal, -p_i p_j/T, for `minus` = -p_i. */
CSM_INLINE vec off_diagonal(vec minus, vec p, const temp_consts *t, int T_is_1, int any_small)
{
    if (T_is_1 && RARELY(any_small))
        return v_unscale(v_mul(v_mul(minus, v_set(real_power(RANGE_BITS))), p));
    return product_over_T(minus, p, t, T_is_1);
}

/* p (1 - p)/T, lane by lane: 1 - p is rounded, and so is the result, but nothing between. */
CSM_INLINE vec variance(vec p, const dominant *a, const temp_consts *t, int T_is_1)
{
    return exact_product_over_T(p, v_select(v_eq(p, a->top), a->rest, v_sub(v_set(1), p)), t, T_is_1);
}

CSM_INLINE vec above_half(vec top) { return v_select(v_lt(v_set((real)0.5), top), top, v_set(NAN)); }

/* Of V_LANES p, one a lane, in a tile. */
CSM_INLINE dominant dominants_in_cols(const elem *p, ptrdiff_t n)
{
    vec top = v_set(0);
    acc sum = a_zero();
    for (ptrdiff_t j = 0; j < n; j++)
        top = v_max(v_load(p + j * TILE_ROWS), top);
    top = above_half(top);
    for (ptrdiff_t j = 0; j < n; j++) {
        const vec v = v_load(p + j * TILE_ROWS);
        sum = a_add(sum, v_where(v_ne(v, top), v));
    }
    return (dominant){top, a_round(sum)};
}

/* Without its peak. */
CSM_INLINE distribution distribution_of(const elem *p, ptrdiff_t n)
{
    const ptrdiff_t full = (n - 1) / V_LANES, left = n - full * V_LANES;
    const vec last = v_load_n(p + full * V_LANES, left, 0);
    mask small = small_p(last);
    for (ptrdiff_t j = 0; j < full; j++)
        small = m_or(small, small_p(v_load(p + j * V_LANES)));
    return (distribution){.p = p, .full = full, .left = left, .last = last, .any_small = m_any(small)};
}

/* In all lanes. */
CSM_INLINE dominant dominant_in_row(const distribution *d)
{
    vec top = v_max(d->last, v_set(0));
    for (ptrdiff_t j = 0; j < d->full; j++)
        top = v_max(v_load(d->p + j * V_LANES), top);
    top = above_half(v_hmax(top));
    acc sum = a_of(v_where(v_ne(d->last, top), d->last));
    for (ptrdiff_t j = 0; j < d->full; j++) {
        const vec v = v_load(d->p + j * V_LANES);
        sum = a_add(sum, v_where(v_ne(v, top), v));
    }
    return (dominant){top, a_round(a_hsum(sum))};
}

/* Rows i to i + rows of one Jacobian. The last store of the first `spill_ok` rows may overwrite the beginning of the
   next row, which is written after it. */
CSM_INLINE void write_rows(const distribution *d, ptrdiff_t i, ptrdiff_t rows, ptrdiff_t spill_ok, elem *y,
                           ptrdiff_t ys, const temp_consts *t, int T_is_1)
{
    const ptrdiff_t tail = d->full * V_LANES;
    const vec diagonal = variance(d->last, &d->dominant, t, T_is_1);
    vec number = v_set((real)i);
    for (const ptrdiff_t stop = i + rows; i < stop; i++, number = v_add(number, v_set(1)), spill_ok--, y += ys) {
        const vec p = v_set(d->p[i]), minus = v_sub(v_set(0), p);
        for (ptrdiff_t j = 0; j < d->full; j++)
            v_store(y + j * V_LANES, off_diagonal(minus, v_load(d->p + j * V_LANES), t, T_is_1, d->any_small));
        vec v = off_diagonal(minus, d->last, t, T_is_1, d->any_small);
        if (d->full == 0)
            v = v_select(v_eq(v_lanes(), number), diagonal, v);
        if (spill_ok > 0)
            v_store(y + tail, v);
        else
            v_store_n(y + tail, v, d->left);
        if (d->full)
            y[i] = v_first(variance(p, &d->dominant, t, T_is_1));
    }
}

/* Those of row i at the classes from j on, whose p are v; one may be the diagonal's. */
CSM_INLINE vec entries(const distribution *d, vec v, ptrdiff_t j, ptrdiff_t i, const temp_consts *t, int T_is_1)
{
    return v_select(v_eq(v_lanes(), v_set((real)(i - j))), variance(v, &d->dominant, t, T_is_1),
                  off_diagonal(v_sub(v_set(0), v_set(d->p[i])), v, t, T_is_1, d->any_small));
}

/* Rows i to i + rows of one Jacobian, by non-temporal stores. */
CSM_INLINE void stream_rows(const distribution *d, ptrdiff_t i, ptrdiff_t rows, ptrdiff_t n, elem *y, ptrdiff_t ys,
                            const temp_consts *t, int T_is_1)
{
    seam o = {.held = 0};
    for (const ptrdiff_t stop = i + rows; i < stop; i++, y += ys) {
        const ptrdiff_t head = misaligned(y, V_LANES);
        ptrdiff_t j = head;
        if (head)
            v_store_n(before_row(&o, y), entries(d, v_load_n(d->p, head, 0), 0, i, t, T_is_1), head);
        write_seam(&o, y);
        const vec minus = v_sub(v_set(0), v_set(d->p[i]));
        for (; j + V_LANES <= n; j += V_LANES) {
            const int diagonal = (size_t)(i - j) < V_LANES;
            const vec v = v_load(d->p + j);
            v_stream(y + j, diagonal ? entries(d, v, j, i, t, T_is_1)
                                     : off_diagonal(minus, v, t, T_is_1, d->any_small));
        }
        elem *const end = after_row(&o, y + j, n - j, ys == n && i + 1 < stop);
        if (j < n)
            v_store_n(end, entries(d, v_load_n(d->p + j, n - j, 0), j, i, t, T_is_1), n - j);
    }
}

/* Rows of a block from which whole vectors do not reach beyond its end, where one row follows another. */
CSM_INLINE ptrdiff_t spill_ok_rows(const csm_block *b)
{
    const ptrdiff_t reach = (b->n + V_LANES - 1) / V_LANES * V_LANES;
    return b->ys == b->n ? b->rows - (reach + b->n - 1) / b->n + 1 : 0;
}

/* The peaks of up to TILE_ROWS p of few classes, one number each. One p after another waits for its sum over lanes; and
   whether one has a peak at all is foreseen half the time at best (docs/notes/products.md). */
static void dominants_transposed(elem *top, elem *rest, const elem *p, ptrdiff_t ps, ptrdiff_t rows, ptrdiff_t n)
{
    elem buffer[FEW_CLASSES * TILE_ROWS];
    transpose_in(buffer, p, ps, rows, n);
    for (ptrdiff_t r = 0; r < rows; r += V_LANES) {
        const dominant a = dominants_in_cols(buffer + r, n);
        v_store(top + r, a.top);
        v_store(rest + r, a.rest);
    }
}

CSM_INLINE void jacobians(const csm_block *b, int T_is_1)
{
    temp_consts t = T_is_1 ? temp_consts_T1() : temp_consts_of(b->temperature);
    const elem *p = b->x;
    elem *y = b->y, top[TILE_ROWS], rest[TILE_ROWS];
    const ptrdiff_t spill_ok = spill_ok_rows(b), count = (b->first + b->rows + b->n - 1) / b->n;
    const int streams = b->policy.stream_output, transposes = b->policy.transpose_p;
    ptrdiff_t i = b->first, row = 0, here;
    for (ptrdiff_t nth = 0; row < b->rows; nth++, row += here, i = 0, p += b->xs, y += here * b->ys) {
        const ptrdiff_t r = nth % TILE_ROWS;
        if (transposes && r == 0)
            dominants_transposed(top, rest, p, b->xs, count - nth < TILE_ROWS ? count - nth : TILE_ROWS, b->n);
        if (!T_is_1 && b->temperatures)
            t = temp_consts_of(b->temperatures[row]);
        distribution d = distribution_of(p, b->n);
        d.dominant = transposes ? (dominant){v_set(top[r]), v_set(rest[r])} : dominant_in_row(&d);
        here = b->rows - row < b->n - i ? b->rows - row : b->n - i;
        if (streams)
            stream_rows(&d, i, here, b->n, y, b->ys, &t, T_is_1);
        else
            write_rows(&d, i, here, spill_ok - row, y, b->ys, &t, T_is_1);
    }
    if (streams)
        v_drain();
}

/* Few classes: V_LANES Jacobians at a time, a p in each lane, n^2 vectors of them, which are transposed into place. */
enum { MOST_SQUARE = FEW_SQUARE * FEW_SQUARE * TILE_ROWS };

/* A tile of p to a tile of Jacobians. */
CSM_INLINE void jacobians_of_tile(elem *y, const elem *x, ptrdiff_t rows, ptrdiff_t n, const temp_consts *t, int T_is_1)
{
    for (ptrdiff_t r = 0; r < rows; r += V_LANES) {
        const dominant a = dominants_in_cols(x + r, n);
        vec p[FEW_SQUARE];
        mask small = small_p(v_set(0));
        for (ptrdiff_t j = 0; j < n; j++)
            p[j] = v_load(x + j * TILE_ROWS + r), small = m_or(small, small_p(p[j]));
        const int any_small = m_any(small);
        for (ptrdiff_t i = 0; i < n; i++) {
            elem *row = y + i * n * TILE_ROWS + r;
            const vec minus = v_sub(v_set(0), p[i]);
            for (ptrdiff_t j = 0; j < n; j++)
                v_store(row + j * TILE_ROWS, off_diagonal(minus, p[j], t, T_is_1, any_small));
            v_store(row + i * TILE_ROWS, variance(p[i], &a, t, T_is_1));
        }
    }
}

/* Jacobians of which the block has a part alone are made whole aside. */
CSM_INLINE void jacobians_transposed(const csm_block *b, int T_is_1)
{
    const temp_consts t = T_is_1 ? temp_consts_T1() : temp_consts_of(b->temperature);
    const ptrdiff_t n = b->n, size = n * n, begin = b->first * n, end = begin + b->rows * n;
    elem p[FEW_SQUARE * TILE_ROWS], buffer[MOST_SQUARE], whole[MOST_SQUARE];
    elem *y = b->y;
    for (ptrdiff_t k = 0; k * size < end; k += TILE_ROWS) {
        const ptrdiff_t from = k * size, left = (end - from + size - 1) / size;
        const ptrdiff_t rows = left < TILE_ROWS ? left : TILE_ROWS, to = from + rows * size;
        transpose_in(p, (const elem *)b->x + k * b->xs, b->xs, rows, n);
        jacobians_of_tile(buffer, p, rows, n, &t, T_is_1);
        if (from >= begin && to <= end) {
            transpose_out(y + (from - begin), size, buffer, rows, size);
        } else {
            const ptrdiff_t first = from < begin ? begin : from, stop = to < end ? to : end;
            transpose_out(whole, size, buffer, rows, size);
            memcpy(y + (first - begin), whole + (first - from), (size_t)(stop - first) * sizeof *y);
        }
    }
}

static void jacobian_rows(const csm_block *b) { csm_T_is_1(b) ? jacobians(b, 1) : jacobians(b, 0); }

static void jacobian_tile(const csm_block *b)
{
    csm_T_is_1(b) ? jacobians_transposed(b, 1) : jacobians_transposed(b, 0);
}

#endif
