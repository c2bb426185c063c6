/* Cross-entropy of a label or of target probabilities, and its gradient. Includes nothing; needs stats.h before it.

   With p = softmax(x/T), S the sum of the exponentials e and "rest" the sum without the target's:

     label t           l = log(S/e_t)                        dl/dx_j = (p_j - [j = t])/T
     probabilities q   l = sum q_j ((m - x_j)/T + L)         dl/dx_j = (p_j sum q - q_j)/T

   Never logsumexp - x_t, which cancels: l is log1p(rest/e_t) where the target is near the max, (m - x_t)/T + L
   where it is not; and the target's own gradient p_t - 1 is -rest/S. */

/* A target this far below the max has a loss above it, so that L counts by its absolute error. */
#define LOSS_NEAR 8

/* A gradient scaled down needs the less of a lift, and scale/S would underflow under all of it. */
CSM_INLINE real lift_for(double scale)
{
    int k = 0;
    frexp(scale, &k);
    return (real)(k >= 0 ? EXP_LIFT : k > -EXP_LIFT ? EXP_LIFT + k : 0);
}

/* The targets' logits of a walk; `alive` where a row is not ignored. */
CSM_INLINE vec target_logits(const csm_block *b, const walk *w, ptrdiff_t row, const elem *x, mask *alive)
{
    const ptrdiff_t *label = b->label + row;
    if (w->along) {
        *alive = v_eq(v_set(0), v_set(0));
        return v_set(v_first(v_load_n(x + label[0], 1, 0)));
    }
    elem logit[V_LANES] = {0};
    real counts[V_LANES] = {0};
    for (ptrdiff_t i = 0; i < w->lanes; i++)
        if (label[i] >= 0) {
            logit[i] = x[label[i] * b->xs + i];
            counts[i] = 1;
        }
    *alive = v_eq(v_get(counts), v_set(1));
    return v_load(logit);
}

CSM_INLINE void patch_targets(const csm_block *b, const walk *w, ptrdiff_t row, elem *y, vec g)
{
    const ptrdiff_t *label = b->label + row;
    if (w->along) {
        v_store_n(y + label[0], g, 1);
        return;
    }
    elem patch[V_LANES];
    v_store(patch, g);
    for (ptrdiff_t i = 0; i < w->lanes; i++)
        if (label[i] >= 0)
            y[label[i] * b->ys + i] = patch[i];
}

CSM_INLINE void label_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *x, const elem *g, elem *y,
                           const temper *t, int unit)
{
    (void)g;
    const vec zero = v_set(0);
    if (w->along && b->label[row] < 0) {
        for (ptrdiff_t i = 0; y && i < w->count; i++)
            store_at(w, y, i, V_LANES, zero);
        store_result(b, w, row, zero);
        return;
    }
    mask alive;
    vec target = target_logits(b, w, row, x, &alive), m = max_pass(w, x, b->xs);
    shift s = shift_of(m, lift_for(b->scale), t, unit);
    sums e = y ? exp_pass(w, x, b->xs, y, b->ys, NULL, 0, target, m, &s, t, unit, SPLIT | KEEP_EXP)
               : exp_pass(w, x, b->xs, NULL, 0, NULL, 0, target, m, &s, t, unit, SPLIT);
    vec top = v_exp(m, &s, t, unit), et = v_exp(target, &s, t, unit), gap = drop(m, target, t, unit);
    wide rest = rest_of(&e, et);

    /* near: log(S/e_t); far: the gap and log(S/e_m). Either way one log1p. */
    mask near = v_lt(gap, v_set(LOSS_NEAR));
    vec swap = v_pick(near, zero, v_sub(et, top));
    vec L = v_log1p(ratio(w_add(rest, swap), v_pick(near, et, top)));
    store_result(b, w, row, v_keep(alive, v_add(v_pick(near, zero, gap), L)));

    if (y) {
        vec hi, lo;
        wide a = w_div(w_set(b->scale), w_add(rest, et));
        w_split(a, &hi, &lo);
        scale_pass(w, y, b->ys, hi, lo, NULL, 0, zero, w->along ? NULL : &alive);
        patch_targets(b, w, row, y, v_sub(zero, w_round(w_mul(a, rest))));
    }
}

CSM_INLINE void soft_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *x, const elem *q, elem *y,
                          const temper *t, int unit)
{
    vec m = max_pass(w, x, b->xs);
    shift s = shift_of(m, lift_for(b->scale), t, unit);
    sums e = y ? exp_pass(w, x, b->xs, y, b->ys, q, b->gs, m, m, &s, t, unit, SPLIT | SOFT | KEEP_EXP)
               : exp_pass(w, x, b->xs, NULL, 0, q, b->gs, m, m, &s, t, unit, SPLIT | SOFT);
    vec top = v_exp(m, &s, t, unit);
    wide rest = rest_of(&e, top);
    vec L = v_log1p(ratio(rest, top));
    store_result(b, w, row, v_fma(L, w_round(e.mass), w_round(e.drops)));

    if (y) {
        vec hi, lo;
        w_split(w_mul(w_div(w_set(b->scale), w_add(rest, top)), e.mass), &hi, &lo);
        scale_pass(w, y, b->ys, hi, lo, q, b->gs, v_set((real)-b->scale), NULL);
    }
}
