/* Gradient and diagonal Hessian of the cross-entropy, as boosting wants them. The letters are those of
   cross_entropy.h. */
#ifndef CSM_GRAD_HESS_H
#define CSM_GRAD_HESS_H

#include "cross_entropy.h"

/* s C p = e g and factor s C p = e h; 1 - p = 1 - e per_e, for the max the sum of the others, which does not cancel:
   `own` is its Hessian. */
typedef struct { multiple_of_e g, h; vec per_e, exp_max, own, weight, floor; } hessian_job;

/* The greater of w and the floor; a w that is subnormal is not made where it is the less. */
CSM_INLINE vec raised(acc w, vec floor)
{
    const vec up = a_round(a_mul(w, a_set(power_of(RANGE_BITS))));
    const vec least = v_mul(v_min(floor, v_set(1)), v_set(real_power(RANGE_BITS)));
    return v_max(floor, a_result(a_unless(v_lt(up, least), w)));
}

/* `per_e` is 1/S, `scale` is s C/S. */
CSM_INLINE hessian_job hessian_of(tile t, const row_stats *a, acc weight, acc scale, acc per_e)
{
    const acc up = a_mul(a_set(t.b->hessian_factor), scale);
    const acc own = a_mul(a_mul(up, a_of(a->exp_max)), a_mul(a->rest, per_e));
    hessian_job j;
    j.g = multiple_by(scale);
    j.h = t.b->hessian_factor == 1 ? j.g : multiple_by(up);
    j.per_e = a_round(per_e);
    j.exp_max = a->exp_max;
    j.floor = v_set((real)t.b->hessian_floor);
    j.own = RARELY(a->any_tiny) ? raised(own, j.floor) : v_max(j.floor, a_round(own));
    j.weight = a_round(weight);
    return j;
}

/* factor s C p (1 - p), raised to the floor. Where it is small it is either worth more than the floor, or not made. */
CSM_INLINE vec hessian_at(vec e, const hessian_job *j, int is_small)
{
    const vec seen = V_FUSED ? e : v_max(v_mul(j->exp_max, v_set(NEAR_TINY)), e);   /* the product may be subnormal */
    const vec others = v_fnma(seen, j->per_e, v_set(1));
    vec h;
    if (is_small) {
        const vec shows = v_mul(v_div(j->floor, v_abs(j->h.hi)), v_set((real)0.75));
        h = times_small_e(v_unless(v_lt(e, shows), e), &j->h);
    } else {
        h = times_e(e, &j->h);
    }
    return v_select(v_eq(e, j->exp_max), j->own, v_max(j->floor, v_mul(h, others)));
}

/* s abs(p - t) for y = s (p - t). */
CSM_INLINE vec residual_of(vec y, vec weight)
{
    return v_select(v_lt(weight, v_set(0)), v_sub(v_set(0), v_abs(y)), v_abs(y));
}

CSM_INLINE void hessian_vectors(tile t, const cursor *p, ptrdiff_t i, int count, int whole, const vec *e,
                                const hessian_job *all, int is_small, pass_opts o)
{
    EACH(u, count) {
        const hessian_job *j = all + owner(t, u);
        vec g = is_small ? times_small_e(e[u], &j->g) : times_e(e[u], &j->g);
        if (o.dense)
            g = add_dense(coefficient(t, p, i, u, whole, o), v_sub(v_set(0), j->weight), g, e[u], j->g.least,
                          is_small);
        const vec h = t.b->residual ? v_max(j->floor, residual_of(g, j->weight)) : hessian_at(e[u], j, is_small);
        store_at(t, p->h, i, u, p->hs, whole, h);
        store_at(t, p->y, i, u, p->ys, whole, g);
    }
}

/* y = s (C p - c), and the Hessian's diagonal. */
CSM_INLINE void hessian_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const hessian_job *const all = state;
    vec e[4], least[4];
    EACH(u, count) e[u] = load_at(t, p->y, i, u, p->ys, whole, INFINITY);
    EACH(u, count) least[u] = v_max(all[owner(t, u)].g.least, all[owner(t, u)].h.least);
    if (RARELY(any_below(t, e, least, count)))
        hessian_vectors(t, p, i, count, whole, e, all, 1, o);
    else
        hessian_vectors(t, p, i, count, whole, e, all, 0, o);
}

CSM_INLINE void clear_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const vec *const is_valid = state, zero = v_set(0), floor = v_set((real)t.b->hessian_floor);
    (void)o;
    EACH(u, count) {
        const mask m = v_ne(is_valid[owner(t, u)], zero);
        store_at(t, p->y, i, u, p->ys, whole, v_select(m, load_at(t, p->y, i, u, p->ys, whole, 0), zero));
        store_at(t, p->h, i, u, p->hs, whole, v_select(m, load_at(t, p->h, i, u, p->hs, whole, 0), floor));
    }
}

/* The gradient and the Hessian of ignored rows: 0, and the floor. */
CSM_INLINE void clear_ignored(tile t)
{
    vec is_valid[TILE_VECTORS];
    EACH_ROW_VECTOR(u, t) is_valid[u] = valid_rows(row_vector_of(t, u));
    for (ptrdiff_t r = 0; r < cursor_count(t); r++) {
        const cursor p = cursor_of(t, r);
        if (t.mode.by_rows && !is_ignored(t, r))
            continue;
        if (t.mode.by_rows)
            is_valid[0] = v_set(0);
        for_each_vector(t, &p, own_range(t, CSM_APPLY), clear_step, is_valid, (pass_opts){0});
    }
}

CSM_INLINE void hessian_body(tile t, pass_opts o)
{
    const csm_block *b = t.b;
    acc weight[TILE_VECTORS];
    shift s[TILE_VECTORS];
    target_logit l[TILE_VECTORS];
    sums e[TILE_VECTORS];
    row_stats a[TILE_VECTORS];
    hessian_job j[TILE_VECTORS];
    scatter_value g[TILE_VECTORS], h[TILE_VECTORS];
    if (!o.dense && !is_past(t, CSM_GATHER_LABELS))
        gather_slot(t, 0, l);
    carry(t, l, sizeof *l);
    EACH_ROW_VECTOR(u, t) {
        vec upscale;
        weight[u] = scales_of(row_vector_of(t, u), &upscale);
        s[u] = shift_of(t.max[u], upscale, t.temp, t.mode.T_is_1);
    }
    exp_pass(t, s, e, o);
    finish_stats(t, s, e, a);
    EACH_ROW_VECTOR(u, t) {
        const acc per_e = a_div(a_set(1), a[u].S), scale = a_mul(weight[u], per_e);
        j[u] = hessian_of(t, &a[u], weight[u], o.dense ? a_mul(scale, e[u].sum_c) : scale, per_e);
        if (o.dense)
            continue;
        const vec others = round_of(a_mul(rest_without(t, &a[u], l[u].logit, &s[u]), scale), a[u].any_tiny);
        g[u] = (scatter_value){l[u].label, v_sub(v_set(0), others)};
        h[u] = (scatter_value){l[u].label, v_max(j[u].floor, others)};
    }
    for_each_cursor(t, hessian_step, j, FIELDS(hessian_job), o);
    if (!o.dense) {
        scatter_targets(t, 0, b->y, b->ys, g, (pass_opts){0});
        if (b->residual)
            scatter_targets(t, 0, b->h, b->hs, h, (pass_opts){0});
    }
    if (b->ignores)
        clear_ignored(t);
}

CSM_INLINE void label_hessian_body(tile t)
{
    hessian_body(t, (pass_opts){.keep_exp = 1, .split_max = 1, .hessian = 1});
}

CSM_INLINE void dense_hessian_body(tile t)
{
    hessian_body(t, (pass_opts){.keep_exp = 1, .split_max = 1, .hessian = 1, .dense = 1});
}

#endif
