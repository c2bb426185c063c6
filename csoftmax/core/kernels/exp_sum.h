/* The exponential pass: the exponentials of the rows of a tile, and their sums. */
#ifndef CSM_EXP_SUM_H
#define CSM_EXP_SUM_H

#include "../math/log1p.h"
#include "../math/underflow.h"
#include "max.h"
#include "pass.h"
#include "per_row.h"
#include "row_sums.h"

/* c of a vector: what the loss counts of (m - x)/T + L. That is g; or if weighed w (one_minus_eps g + eps_over_n), and
   0 where w is infinite but its factor is 0; see cross_entropy.h. */
CSM_INLINE vec coefficient(tile t, const cursor *p, ptrdiff_t i, int u, int whole, pass_opts o)
{
    const csm_block *b = t.b;
    if (!o.weighed)
        return load_at(t, p->g, i, u, p->gs, whole, 0);
    vec c = v_set((real)b->eps_over_n);
    if (p->g)
        c = v_fma(v_set((real)b->one_minus_eps), load_at(t, p->g, i, u, p->gs, whole, 0), c);
    if (b->weight)
        c = v_where(v_ne(c, v_set(0)), v_mul(c, t.mode.by_rows ? load_at(t, b->weight, i, u, V_LANES, whole, 0)
                                                       : v_set(((const real *)b->weight)[i])));
    return t.mode.by_rows && !whole ? v_where(m_first(t.lanes), c) : c;
}

/* The values of a vector of classes, of which there is an expectation: those of each row, or one for each class. */
CSM_INLINE vec values_at(tile t, const cursor *p, ptrdiff_t i, int u, int whole)
{
    if (p->g)
        return load_at(t, p->g, i, u, p->gs, whole, 0);
    return t.mode.by_rows ? load_at(t, t.b->weight, i, u, V_LANES, whole, 0) : v_set(((const real *)t.b->weight)[i]);
}

/* d where the exponential is large enough to show; of a smaller one e d may be subnormal. */
CSM_INLINE vec where_shows(vec e, vec d) { return v_unless(v_lt(e, v_set(real_power(26 - RANGE_BITS))), d); }

/* Prefetches. In rows: the logits of the next row, its other operands if rows are short, and what a later pass writes
   of this row if it stays in the second-level cache until then. In columns: all operands of a later tile. */
CSM_INLINE void prefetch_vectors(tile t, const cursor *p, ptrdiff_t i, int count, pass_opts o)
{
    const int y_later = t.mode.by_rows && !o.keep_exp && !o.values, h_later = t.mode.by_rows;
    EACH(u, count) __builtin_prefetch(p->x + i * p->xs + u * V_LANES + p->next);
    if ((o.dense || o.factors || o.values) && p->g && t.prefetch_next)
        EACH(u, count) __builtin_prefetch(p->g + i * p->gs + u * V_LANES + p->next);
    if (p->y && (y_later ? t.row_fits_l2 : t.prefetch_next))
        EACH(u, count) __builtin_prefetch(p->y + i * p->ys + u * V_LANES + (y_later ? 0 : p->next), 1);
    if (o.hessian && (h_later ? t.row_fits_l2 : t.prefetch_next))
        EACH(u, count) __builtin_prefetch(p->h + i * p->hs + u * V_LANES + (h_later ? 0 : p->next), 1);
}

/* Adds c (m - x)/T and c of `count` vectors; of an entropy, c is e; of an expectation, e (v - m). A coefficient of 0
   takes no part whatever its logit is: 0 * inf = 0. Products are added by fours, so that the error of one stays within
   its four. c may have any sign, and a sum that is small beside its terms: it is added in the accumulator, vector by
   vector. */
CSM_INLINE void add_c_gap(tile t, const cursor *p, ptrdiff_t i, int count, int whole,
                          const shift *s, const vec *x, const vec *e, sums *sum, pass_opts o)
{
    vec c[4], d[4];
    EACH(u, count) c[u] = o.dense ? coefficient(t, p, i, u, whole, o) : e[u];
    EACH(u, count) {
        const vec m = s[owner(t, u)].m;
        d[u] = o.values ? where_shows(e[u], v_sub(values_at(t, p, i, u, whole), m))
                        : v_where(v_ne(c[u], v_set(0)), scaled_diff(m, x[u], t.temp, t.mode.T_is_1));
    }
    if (t.mode.by_rows && count == 4) {
        const vec four = v_fma(c[3], d[3], v_fma(c[2], d[2], v_fma(c[1], d[1], v_mul(c[0], d[0]))));
        sum->sum_c_gap = a_add(sum->sum_c_gap, four);
    } else {
        EACH(u, count) sum[owner(t, u)].sum_c_gap = a_add(sum[owner(t, u)].sum_c_gap, v_mul(c[u], d[u]));
    }
    if (o.dense)
        EACH(u, count) sum[owner(t, u)].sum_c = a_add(sum[owner(t, u)].sum_c, c[u]);
}

/* Adds the products of e with its factors, and leaves the sizes of these in e. */
CSM_INLINE void add_products(tile t, const cursor *p, ptrdiff_t i, int count, int whole, vec *e, sums *sum)
{
    EACH(u, count) {
        const vec b = load_at(t, p->g, i, u, p->gs, whole, 0);
        sum[owner(t, u)].sum_c_gap = a_add_product(sum[owner(t, u)].sum_c_gap, e[u], b);
        e[u] = v_abs(b);
    }
}

/* Takes the exponentials of the max out of e, and counts them. */
CSM_INLINE void take_top(tile t, int count, const shift *s, const vec *x, vec *e, sums *sum)
{
    EACH(u, count) {
        sums *const to = sum + owner(t, u);
        const mask same = v_eq(x[u], s[owner(t, u)].m);
        if (!t.mode.by_rows)
            to->exp_max = v_select(same, e[u], to->exp_max);
        e[u] = v_unless(same, e[u]);
        to->count = v_count(to->count, same);
    }
}

/* Stage 1 of exp, range reduction, of `count` vectors of a cursor from the i-th on. */
CSM_INLINE void reduce_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole,
                            const shift *s, reduced *to, pass_opts o)
{
    vec x[4];
    if (whole && !t.mode.single)
        prefetch_vectors(t, p, i, count, o);
    EACH(u, count) x[u] = logits_at(t, p, i, u, whole, o);
    reduce_many(to, x, count, s, !t.mode.by_rows, t.temp, t.mode.T_is_1);
}

/* What an exponential pass has and makes of each row. */
typedef struct { const shift *s; sums *sum; } exp_state;

/* Stage 2 of exp, polynomial and reconstruction, and what is done with the exponentials. They are added in the
   accumulator, four of a row at a time as far as the bounds allow: rounding each sum to `real` would cost a softmax
   half an ULP where one logit holds most of the sum (docs/notes/exp.md). */
CSM_INLINE void exp_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole,
                         const reduced *from, const exp_state *a, pass_opts o)
{
    sums *const sum = a->sum;
    vec x[4], e[4];
    exp_reduced(e, from, count, t.temp, t.mode.T_is_1);
    if (o.split_max || o.dense || o.entropy)
        EACH(u, count) x[u] = load_at(t, p->x, i, u, p->xs, whole, -INFINITY);
    if ((o.keep_exp || o.values) && p->y)
        EACH(u, count) store_at(t, p->y, i, u, p->ys, whole, e[u]);
    if (o.dense || o.entropy)
        add_c_gap(t, p, i, count, whole, a->s, x, e, sum, o);
    if (o.split_max && !o.values)
        take_top(t, count, a->s, x, e, sum);
    if (o.factors)
        add_products(t, p, i, count, whole, e, sum);
    if (t.mode.by_rows && count == 4) {
        sum->sum_below_max = a_add_four(sum->sum_below_max, e[0], e[1], e[2], e[3], t.mode.T_is_1);
    } else {
        EACH(u, count) sum[owner(t, u)].sum_below_max = a_add(sum[owner(t, u)].sum_below_max, e[u]);
    }
}

/* Both stages. */
CSM_INLINE void both_exp_steps(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const exp_state *const a = state;
    reduced r[4];
    reduce_step(t, p, i, count, whole, a->s, r, o);
    exp_step(t, p, i, count, whole, r, a, o);
}

/* In rows: V_GROUP whole vectors at a time from the i-th on, while there are so many before `end`; returns the next.
   Stage 1 of a group is under way while stage 2 of the group before it is computed: otherwise the dependency chains of
   one group fill the reorder buffer before those of the next are in it (docs/notes/exp.md). */
CSM_INLINE ptrdiff_t exp_pipelined(tile t, const cursor *p, ptrdiff_t i, ptrdiff_t end, const exp_state *a, pass_opts o)
{
    reduced now[V_GROUP], next[V_GROUP];
    if (i + V_GROUP > end)
        return i;
    reduce_step(t, p, i, V_GROUP, 1, a->s, now, o);
    EACH(u, V_GROUP) next[u] = now[u];
    for (ptrdiff_t left = (end - i) / V_GROUP; left > 0; left--, i += V_GROUP) {
        if (left > 1)
            reduce_step(t, p, i + V_GROUP, V_GROUP, 1, a->s, next, o);
        exp_step(t, p, i, V_GROUP, 1, now, a, o);
        EACH(u, V_GROUP) now[u] = next[u];
    }
    return i;
}

CSM_INLINE void exp_range(tile t, const cursor *p, vector_range v, const shift *s, sums *sum, pass_opts o)
{
    exp_state a = {s, sum};
    /* 16 registers are too few beside a Hessian. */
    const int overlaps = V_TABLE > 1 || (V_LANES > 1 && !o.hessian);
    if (overlaps && t.mode.by_rows && !t.mode.single && t.arrays_fit_llc)
        v.begin = exp_pipelined(t, p, v.begin, t.full < v.end ? t.full : v.end, &a, o);
    for_each_vector(t, p, v, both_exp_steps, &a, o);
}

/* The exponentials of the rows of a tile, and their sums. In rows, the only row of a tile goes by segments, several
   rows go whole. The sums of a single row stay in vectors: single numbers would wait for their way through memory. */
CSM_INLINE void exp_pass(tile t, const shift *s, sums *sum, pass_opts o)
{
    if (!t.mode.by_rows) {
        const cursor p = cursor_of(t, 0);
        EACH(u, t.mode.width) sum[u] = sums_of_nothing();
        exp_range(t, &p, full_range(t), s, sum, o);
        find_next_max(t);
        EACH(u, t.mode.width) sum[u].count = v_counted(sum[u].count);
        return;
    }
    const int alone = t.rows == 1;
    const vector_range own = own_range(t, CSM_ADD_EXP);
    const ptrdiff_t own_segments = t.mode.single ? 1 : (own.end - own.begin + CSM_SEGMENT - 1) / CSM_SEGMENT;
    const ptrdiff_t segments = alone ? own_segments : t.rows;
    real count[V_LANES] = {0}, c[V_LANES], base[V_LANES], plain[V_LANES], floor[V_LANES], lowest[V_LANES], m[V_LANES];
    double sum_below_max[ACC_SIZE] = {0}, sum_c_gap[ACC_SIZE] = {0}, sum_c[ACC_SIZE] = {0};
    sums all = sums_of_nothing();
    v_put(c, s->c), v_put(base, s->base), v_put(plain, s->plain), v_put(floor, s->floor);
    v_put(lowest, s->lowest), v_put(m, s->m);
    for (ptrdiff_t i = 0; i < segments; i++) {
        const ptrdiff_t r = alone ? 0 : i;
        if (skips_row(t, r))
            continue;
        const cursor p = cursor_of(t, r);
        const tile here = at_cursor(t, r);
        const shift mine = t.mode.single ? *s : (shift){v_set(c[r]), v_set(base[r]), v_set(plain[r]), v_set(floor[r]),
                                                 v_set(lowest[r]), v_set(m[r])};
        vector_range segment = own;
        sums these = sums_of_nothing();
        if (alone) {
            segment.begin += i * CSM_SEGMENT;
            segment.end = own.end - segment.begin < CSM_SEGMENT ? own.end : segment.begin + CSM_SEGMENT;
        }
        exp_range(here, &p, segment, &mine, &these, o);
        these.count = v_counted(these.count);
        if (!alone) {
            these = over_lanes(these, o);
            a_put_first(sum_below_max + r, these.sum_below_max);
            if (o.split_max)
                count[r] = v_first(these.count);
            if (o.dense || o.entropy || o.factors)
                a_put_first(sum_c_gap + r, these.sum_c_gap);
            if (o.dense)
                a_put_first(sum_c + r, these.sum_c);
        } else if (team_of(t)) {
            give_segment(t, segment.begin / CSM_SEGMENT, &these);
        } else {
            all = i ? sums_together(&all, &these) : these;
        }
    }
    find_next_max(t);
    if (alone)
        *sum = over_lanes(team_of(t) ? team_sums(t) : all, o);
    else
        *sum = (sums){a_get(sum_below_max), v_get(count), v_set(0), a_get(sum_c_gap), a_get(sum_c)};
}

/* What is known of rows after their exponentials. */
typedef struct {
    vec exp_max;                /* the exponential of the max                                               */
    acc rest, S;           /* the sum without one max, and with it                                     */
    vec rest_ratio;              /* (S - top)/top, of which log1p is log(S/top); where that is tiny, 0, ...  */
    acc tiny;              /* ... and this is it, and its log1p; else 0                                */
    int any_tiny;           /* whether a row of the tile has a tiny ratio; else `tiny` is not set. Other rows
                               have the same bits either way                                            */
} row_stats;

CSM_INLINE void complete_stats_in(row_stats *a, const sums *e, int width)
{
    for (int u = 0; u < width; u++) {
        a[u].rest = a_add_product(e[u].sum_below_max, v_sub(e[u].count, v_set(1)), a[u].exp_max);
        a[u].S = a_add(a[u].rest, a[u].exp_max);
        const vec rest = a_round(a[u].rest), least = v_mul(a[u].exp_max, v_set(NEAR_TINY));
        const mask is_tiny = v_lt(rest, least);
        acc rest_ratio = a_ratio(a[u].rest, a[u].exp_max);
        a[u].any_tiny = m_any(is_tiny);
        if (RARELY(a[u].any_tiny)) {
            a[u].tiny = a_unless(v_le(least, rest), rest_ratio);
            rest_ratio = a_unless(is_tiny, rest_ratio);
        }
        a[u].rest_ratio = a_round(rest_ratio);
    }
}

static CSM_SHARED void complete_stats(row_stats *a, const sums *e, int width) { complete_stats_in(a, e, width); }

CSM_INLINE void finish_stats(tile t, const shift *s, const sums *e, row_stats *a)
{
    EACH_ROW_VECTOR(u, t) a[u].exp_max = t.mode.by_rows ? v_exp(s[u].m, &s[u], t.temp, t.mode.T_is_1) : e[u].exp_max;
    (t.mode.single ? complete_stats_in : complete_stats)(a, e, t.mode.width);
}

#endif
