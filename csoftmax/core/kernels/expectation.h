/* The expectation of values under softmax, and its gradient.
   The letters are those of docs/derivation.md. With c the value at the largest logit and D = sum p (v - c):

     expectation    E = c + D
     gradient       dE/dx_j = p_j (v_j - E)/T = p_j ((v_j - c) - D)/T

   next to one-hot v_j - E would cancel. The values of a class of probability 0 take no part: 0 * inf = 0. The sums are
   those of an entropy, whose values are (m - x)/T: entropy.h has the body of both. */
#ifndef CSM_EXPECTATION_H
#define CSM_EXPECTATION_H

#include "cross_entropy.h"

/* Of each row the pivot c, and how large values are. */
typedef struct { vec c, most; } pivot;

/* Of the vectors of a step; m is the largest logit. */
typedef struct { vec m[4], c[4], most[4]; } pivot_search;

CSM_INLINE void pivot_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    pivot_search *const s = state;
    const vec none = v_set(-INFINITY);
    (void)o;
    EACH(u, count) {
        const vec x = load_at(t, p->x, i, u, p->xs, whole, -INFINITY), v = values_at(t, p, i, u, whole);
        s->c[u] = v_max(v_select(v_eq(x, s->m[u]), v, none), s->c[u]);
        s->most[u] = v_max(v_where(v_lt(none, x), v_abs(v)), s->most[u]);
    }
}

/* The largest value at a largest logit; 0 where values are so large that a difference of two may overflow. */
CSM_INLINE pivot pivot_of(vec c, vec most)
{
    return (pivot){v_where(v_lt(most, v_set(real_power(RANGE_BITS - 2))), c), most};
}

CSM_INLINE void pivots_in(tile t, const vec *max, pivot *to)
{
    real m[V_LANES], c[V_LANES] = {0}, most[V_LANES] = {0};
    v_put(m, max[0]);
    for (ptrdiff_t r = 0; r < cursor_count(t); r++) {
        const cursor p = cursor_of(t, r);
        pivot_search s;
        EACH(u, 4) s.m[u] = t.mode.by_rows ? v_set(m[r]) : max[u % t.mode.width];
        EACH(u, 4) s.c[u] = v_set(-INFINITY);
        EACH(u, 4) s.most[u] = v_set(0);
        for_each_vector(t, &p, full_range(t), pivot_step, &s, (pass_opts){0});
        if (!t.mode.by_rows) {
            EACH(u, t.mode.width) to[u] = pivot_of(s.c[u], s.most[u]);
            return;
        }
        c[r] = v_first(v_hmax(v_max(v_max(s.c[0], s.c[1]), v_max(s.c[2], s.c[3]))));
        most[r] = v_first(v_hmax(v_max(v_max(s.most[0], s.most[1]), v_max(s.most[2], s.most[3]))));
    }
    *to = pivot_of(get_rows(t, c), get_rows(t, most));
}

/* One function for each layout, T = 1 or not. */
#define PIVOTS(name, BY_ROWS, VECTORS)                                                                              \
    static CSM_SHARED void name(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, const vec *max, pivot *to)       \
    {                                                                                                               \
        const mode m = {.by_rows = BY_ROWS, .width = VECTORS};                                                      \
        pivots_in(tile_of(b, row, rows, NULL, m), max, to);                                                         \
    }

PIVOTS(pivots_rows, 1, 1)
PIVOTS(pivots_cols, 0, 1)
PIVOTS(pivots_full_cols, 0, TILE_VECTORS)

CSM_INLINE void pivots_of(tile t, pivot *to)
{
    (t.mode.by_rows ? pivots_rows : t.mode.width > 1 ? pivots_full_cols : pivots_cols)(t.b, t.row, t.rows, t.max, to);
}

/* The largest upscale for which no product of an exponential and a value overflows. */
CSM_INLINE vec most_upscale(const pivot *v)
{
    return v_max(v_sub(v_set(RANGE_BITS - 40), v_exponent(v_max(v->most, v_set(1)))), v_set(0));
}

/* y = e ((v - c) - D) a, a = 1/(S T); D as the sum of two. */
typedef struct { vec c, D, D_lo; multiple_of_e a; } expectation_job;

/* e d a, d of any sign. */
CSM_INLINE vec times_gap(vec e, vec d, const multiple_of_e *a)
{
    const vec v = v_mul(e, d), size = v_abs(v);
    const vec y = RARELY(m_any(v_lt(size, a->least))) ? times_small_e(size, a) : times_e(size, a);
    return v_select(v_lt(v, v_set(0)), v_sub(v_set(0), y), y);
}

/* d, or 0 where e d is no normal number: then nothing of it shows. */
CSM_INLINE vec where_normal(vec e, vec d)
{
    return v_unless(v_lt(e, v_rough_ratio(real_power(2 - RANGE_BITS), v_min(v_abs(d), v_set(1)))), d);
}

CSM_INLINE void expectation_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const expectation_job *const all = state;
    (void)o;
    EACH(u, count) {
        const expectation_job *j = all + owner(t, u);
        const vec e = load_at(t, p->y, i, u, p->ys, whole, 0);
        const vec d = v_sub(v_sub(v_sub(values_at(t, p, i, u, whole), j->c), j->D), j->D_lo);
        store_at(t, p->y, i, u, p->ys, whole, times_gap(e, where_normal(e, d), &j->a));
    }
}

/* D as the sum of two; the second is 0 where it may be subnormal, and does not show. */
CSM_INLINE void split_mean(acc D, expectation_job *j)
{
    j->D = a_result(D);
    j->D_lo = a_round(a_unless(v_lt(v_abs(j->D), v_set(NEAR_TINY)), a_sub(D, a_of(j->D))));
}

/* What entropy_body knows of a row after its exponentials: their sums, the scale of the gradient, and the pivot. */
CSM_INLINE void finish_expectation_in(tile t, const sums *e, const acc *scale, const pivot *v)
{
    const csm_block *b = t.b;
    expectation_job j[TILE_VECTORS];
    acc D[TILE_VECTORS];
    EACH_ROW_VECTOR(u, t) {
        D[u] = a_div(e[u].sum_c_gap, e[u].sum_below_max);
        store_result(row_vector_of(t, u), a_result(a_mul(a_add(D[u], v[u].c), a_set(b->loss_scale))));
    }
    if (!b->y)
        return;
    EACH_ROW_VECTOR(u, t) {
        j[u].c = v[u].c;
        split_mean(D[u], &j[u]);
        j[u].a = multiple_by(a_clamp(a_div(scale[u], e[u].sum_below_max), power_of(RANGE_BITS)));
    }
    for_each_cursor(t, expectation_step, j, FIELDS(expectation_job), (pass_opts){0});
}

#define EXPECTATION(name, BY_ROWS, VECTORS)                                                                         \
    static CSM_SHARED void name(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, const sums *e, const acc *scale, \
                                const pivot *v)                                                                     \
    {                                                                                                               \
        const mode m = {.by_rows = BY_ROWS, .T_is_1 = 1, .width = VECTORS};                                         \
        finish_expectation_in(tile_of(b, row, rows, NULL, m), e, scale, v);                                         \
    }

EXPECTATION(expectation_rows, 1, 1)
EXPECTATION(expectation_cols, 0, 1)
EXPECTATION(expectation_full_cols, 0, TILE_VECTORS)

CSM_INLINE void finish_expectation(tile t, const sums *e, const acc *scale, const pivot *v)
{
    (t.mode.by_rows ? expectation_rows : t.mode.width > 1 ? expectation_full_cols : expectation_cols)
        (t.b, t.row, t.rows, e, scale, v);
}

#endif
