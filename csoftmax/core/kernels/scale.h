/* The pass that scales exponentials: y = e a + c f. */
#ifndef CSM_SCALE_H
#define CSM_SCALE_H

#include "exp_sum.h"
#include "../math/underflow.h"

/* y = e a + c f, a and f numbers per row; c only where dense. Ignored rows get 0. */
typedef struct { multiple_of_e a; vec f, is_valid; } affine;

CSM_INLINE affine affine_of(tile t, acc a, vec f, pass_opts o)
{
    return (affine){multiple_by(a), f, o.ignores ? valid_rows(t) : f};
}

/* c f + v. Where v belongs to an exponential below `least`, and may be subnormal, it is too small to show beside a
   c f that is not. */
CSM_INLINE vec add_dense(vec c, vec f, vec v, vec e, vec least, int is_small)
{
    if (is_small) {
        const vec shows = v_set(real_power(2 * FRACTION_BITS + 20 - RANGE_BITS));
        v = v_unless(v_lt(e, v_where(v_le(shows, v_abs(v_mul(c, f))), least)), v);
    }
    return v_fma(c, f, v);
}

CSM_INLINE void scale_vectors(tile t, const cursor *p, ptrdiff_t i, int count, int whole, const vec *e,
                              const affine *all, int is_small, pass_opts o)
{
    EACH(u, count) {
        const affine *j = all + owner(t, u);
        vec v = is_small ? times_small_e(e[u], &j->a) : times_e(e[u], &j->a);
        if (o.dense)
            v = add_dense(coefficient(t, p, i, u, whole, o), j->f, v, e[u], j->a.least, is_small);
        store_at(t, p->y, i, u, p->ys, whole, o.ignores ? v_where(v_ne(j->is_valid, v_set(0)), v) : v);
    }
}

/* Whether an exponential is below what its row allows. */
CSM_INLINE int any_below(tile t, const vec *e, const vec *least, int count)
{
    if (t.mode.by_rows) {
        vec lowest = e[0];
        EACH(u, count) lowest = v_min(e[u], lowest);
        return m_any(v_lt(lowest, least[0]));
    }
    mask below = v_lt(e[0], least[0]);
    EACH(u, count) below = m_or(below, v_lt(e[u], least[u]));
    return m_any(below);
}

CSM_INLINE void scale_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const affine *const all = state;
    vec e[4], least[4];
    EACH(u, count) e[u] = load_at(t, p->y, i, u, p->ys, whole, INFINITY);
    EACH(u, count) least[u] = all[owner(t, u)].a.least;
    if (RARELY(any_below(t, e, least, count)))
        scale_vectors(t, p, i, count, whole, e, all, 1, o);
    else
        scale_vectors(t, p, i, count, whole, e, all, 0, o);
}

CSM_INLINE void scale_pass(tile t, const affine *j, pass_opts o)
{
    for_each_cursor(t, scale_step, j, FIELDS(affine), o);
}

#endif
