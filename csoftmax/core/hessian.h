/* Gradient and diagonal Hessian of the cross-entropy, as boosting wants them. The letters are those of losses.h.
   Includes nothing; needs losses.h before it. */

/* s C p = e g and factor s C p = e h; 1 - p = 1 - e per_e, for the max the sum of the others, which does not cancel:
   `own` is its Hessian. */
typedef struct { multiple_of_e g, h; vec per_e, top, own, weight, floor; } hessian_job;

/* The greater of w and the floor; a w that is subnormal is not made where it is the less. */
CSM_INLINE vec raised(wide w, vec floor)
{
    const vec up = w_round(w_mul(w, w_set(power_of(RANGE_BITS))));
    const vec least = v_mul(v_min(floor, v_set(1)), v_set(real_power(RANGE_BITS)));
    return v_max(floor, w_result(w_drop(v_lt(up, least), w)));
}

/* `per_e` is 1/S, `scale` is s C/S. */
CSM_INLINE hessian_job hessian_of(batch k, const summary *a, wide weight, wide scale, wide per_e)
{
    const wide up = w_mul(w_set(k.b->hessian_factor), scale);
    const wide own = w_mul(w_mul(up, w_of(a->top)), w_mul(a->rest, per_e));
    hessian_job j;
    j.g = multiple_by(scale);
    j.h = k.b->hessian_factor == 1 ? j.g : multiple_by(up);
    j.per_e = w_round(per_e);
    j.top = a->top;
    j.floor = v_set((real)k.b->hessian_floor);
    j.own = RARELY(a->any_tiny) ? raised(own, j.floor) : v_max(j.floor, w_round(own));
    j.weight = w_round(weight);
    return j;
}

/* factor s C p (1 - p), raised to the floor. Where it is small it is either worth more than the floor, or not made. */
CSM_INLINE vec hessian_at(vec e, const hessian_job *j, int is_small)
{
    const vec seen = V_FUSED ? e : v_max(v_mul(j->top, v_set(NEAR_TINY)), e);   /* the product may be subnormal */
    const vec others = v_fnma(seen, j->per_e, v_set(1));
    vec h;
    if (is_small) {
        const vec shows = v_mul(v_div(j->floor, v_abs(j->h.hi)), v_set((real)0.75));
        h = times_small_e(v_drop(v_lt(e, shows), e), &j->h);
    } else {
        h = times_e(e, &j->h);
    }
    return v_pick(v_eq(e, j->top), j->own, v_max(j->floor, v_mul(h, others)));
}

/* s abs(p - t) for y = s (p - t). */
CSM_INLINE vec residual_of(vec y, vec weight)
{
    return v_pick(v_lt(weight, v_set(0)), v_sub(v_set(0), v_abs(y)), v_abs(y));
}

CSM_INLINE void hessian_vectors(batch k, const strand *p, ptrdiff_t i, int count, int whole, const vec *e,
                                const hessian_job *all, int what, int is_small)
{
    EACH(u, count) {
        const hessian_job *j = all + owner(k, u);
        vec g = is_small ? times_small_e(e[u], &j->g) : times_e(e[u], &j->g);
        if (what & DENSE)
            g = add_dense(coefficient(k, p, i, u, whole, what), v_sub(v_set(0), j->weight), g, e[u], j->g.least,
                          is_small);
        const vec h = k.b->residual ? v_max(j->floor, residual_of(g, j->weight)) : hessian_at(e[u], j, is_small);
        store_at(k, p->h, i, u, p->hs, whole, h);
        store_at(k, p->y, i, u, p->ys, whole, g);
    }
}

/* y = s (C p - c), and the Hessian's diagonal. */
CSM_INLINE void hessian_step(batch k, const strand *p, ptrdiff_t i, int count, int whole,
                             const hessian_job *all, int what)
{
    vec e[4], least[4];
    EACH(u, count) e[u] = load_at(k, p->y, i, u, p->ys, whole, INFINITY);
    EACH(u, count) least[u] = v_max(all[owner(k, u)].g.least, all[owner(k, u)].h.least);
    if (RARELY(any_below(k, e, least, count)))
        hessian_vectors(k, p, i, count, whole, e, all, what, 1);
    else
        hessian_vectors(k, p, i, count, whole, e, all, what, 0);
}

CSM_INLINE void clear_step(batch k, elem *a, ptrdiff_t step, ptrdiff_t i, int count, int whole, const vec *alive, vec v)
{
    EACH(u, count) {
        const mask m = v_ne(alive[owner(k, u)], v_set(0));
        store_at(k, a, i, u, step, whole, v_pick(m, load_at(k, a, i, u, step, whole, 0), v));
    }
}

/* The gradient and the Hessian of ignored rows: 0, and the floor. */
CSM_INLINE void clear_ignored(batch k)
{
    vec alive[WIDTH];
    EACH_PART(u, k) alive[u] = alive_of(part_of(k, u));
    for (ptrdiff_t r = 0; r < strands(k); r++) {
        const strand p = strand_of(k, r);
        if (k.along && !is_ignored(k, r))
            continue;
        if (k.along)
            alive[0] = v_set(0);
        const vec floor = v_set((real)k.b->hessian_floor);
        EACH_VECTOR(k, own_span(k), clear_step(k, p.y, p.ys, i, count, whole, alive, v_set(0)));
        EACH_VECTOR(k, own_span(k), clear_step(k, p.h, p.hs, i, count, whole, alive, floor));
    }
}

CSM_INLINE void hessian_body(batch k, int what)
{
    const csm_block *b = k.b;
    wide weight[WIDTH];
    shift s[WIDTH];
    labelled l[WIDTH];
    sums e[WIDTH];
    summary a[WIDTH];
    hessian_job j[WIDTH];
    patch g[WIDTH], h[WIDTH];
    if (!(what & DENSE))
        labels_at(k, 0, l);
    meet(k);
    EACH_PART(u, k) {
        vec lift;
        weight[u] = scales_of(part_of(k, u), &lift);
        s[u] = shift_of(k.max[u], lift, k.t, k.unit);
    }
    exp_pass(k, s, what | SPLIT | KEEP_EXP | HESSIAN, e);
    summarise(k, s, e, a);
    EACH_PART(u, k) {
        const wide per_e = w_div(w_set(1), a[u].S), scale = w_mul(weight[u], per_e);
        j[u] = hessian_of(k, &a[u], weight[u], what & DENSE ? w_mul(scale, e[u].mass) : scale, per_e);
        if (what & DENSE)
            continue;
        const vec others = round_of(w_mul(rest_without(k, &a[u], l[u].logit, &s[u]), scale), a[u].any_tiny);
        g[u] = (patch){l[u].label, v_sub(v_set(0), others)};
        h[u] = (patch){l[u].label, v_max(j[u].floor, others)};
    }
    EACH_STRAND(k, hessian_job, j, EACH_VECTOR(k, own_span(k), hessian_step(k, &p, i, count, whole, mine, what)));
    meet(k);
    if (!(what & DENSE)) {
        patch_labels(k, 0, b->y, b->ys, g, 0);
        if (b->residual)
            patch_labels(k, 0, b->h, b->hs, h, 0);
    }
    if (b->ignores)
        clear_ignored(k);
}

CSM_INLINE void label_hessian_body(batch k) { hessian_body(k, 0); }
CSM_INLINE void dense_hessian_body(batch k) { hessian_body(k, DENSE); }
