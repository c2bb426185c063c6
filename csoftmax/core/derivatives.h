/* Products with the Jacobians of softmax and log_softmax, and the Jacobian itself, from probabilities p.
   Includes nothing; needs stats.h before it. In a block x is p. */

/* The sum of a row, not in `real`: it may cancel. */
CSM_INLINE wide sum_pass(const walk *w, const elem *x, ptrdiff_t xs)
{
    wide s = w_zero();
    for (ptrdiff_t i = 0; i < w->count; i++)
        s = w_add(s, load_at(w, x, i, step_of(w, xs), 0));
    return w->along ? w_hsum(s) : s;
}

/* g at the largest p of the row where that is at least 1/2, else 0. With it taken off g, p (g - sum p g) keeps its
   accuracy where p is next to one-hot. */
CSM_INLINE vec pivot_pass(const walk *w, const elem *p, ptrdiff_t ps, const elem *g, ptrdiff_t gs)
{
    const vec none = v_set(-INFINITY);
    vec top = v_set((real)0.5), c = none;
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec v = load_at(w, p, i, step_of(w, ps), 0);
        mask higher = v_le(top, v);
        if (w->along && !m_any(higher))     /* nearly always: no chain of comparisons to wait for */
            continue;
        top = v_pick(higher, v, top);
        c = v_pick(higher, load_at(w, g, i, step_of(w, gs), 0), c);
    }
    if (w->along) {
        vec largest = v_hmax(top);
        c = v_hmax(v_pick(v_eq(top, largest), c, none));
    }
    return v_keep(v_lt(v_abs(c), v_set(INFINITY)), c);
}

/* h = (g - c)/T; y = p (h - sum p h), or h - sum p h where `weighted` is 0. */
CSM_INLINE void product_body(const csm_block *b, const walk *w, const elem *p, const elem *g, elem *y,
                             const temper *t, int unit, int weighted)
{
    const ptrdiff_t pstep = step_of(w, b->xs), gstep = step_of(w, b->gs), ystep = step_of(w, b->ys);
    vec c = pivot_pass(w, p, b->xs, g, b->gs);
    wide sum = w_zero();
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec h = drop(load_at(w, g, i, gstep, 0), c, t, unit);
        vec v = load_at(w, p, i, pstep, 0);
        sum = w_add_product(sum, v, unit ? h : v_keep(v_ne(v, v_set(0)), h));
    }
    vec dot = w_round(w->along ? w_hsum(sum) : sum);
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec h = v_sub(drop(load_at(w, g, i, gstep, 0), c, t, unit), dot);
        if (weighted) {
            vec v = load_at(w, p, i, pstep, 0), product = v_mul(v, h);
            h = unit ? product : v_keep(v_ne(v, v_set(0)), product);   /* h may overflow where T is tiny: 0 * inf */
        }
        store_at(w, y, i, ystep, h);
    }
}

/* y = p (g - sum p g)/T: softmax forward and backward, its Jacobian being symmetric. */
CSM_INLINE void vjp_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *p, const elem *g, elem *y,
                         const temper *t, int unit)
{
    (void)row;
    product_body(b, w, p, g, y, t, unit, 1);
}

/* y = (g - sum p g)/T: log_softmax forward. */
CSM_INLINE void log_jvp_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *p, const elem *g, elem *y,
                             const temper *t, int unit)
{
    (void)row;
    product_body(b, w, p, g, y, t, unit, 0);
}

/* y = (g - p sum g)/T: log_softmax backward. */
CSM_INLINE void log_vjp_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *p, const elem *g, elem *y,
                             const temper *t, int unit)
{
    (void)row;
    const ptrdiff_t pstep = step_of(w, b->xs), gstep = step_of(w, b->gs), ystep = step_of(w, b->ys);
    vec sum = over_T(w_round(sum_pass(w, g, b->gs)), t, unit);
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec v = over_T(load_at(w, g, i, gstep, 0), t, unit);
        store_at(w, y, i, ystep, v_fnma(load_at(w, p, i, pstep, 0), sum, v));
    }
}

/* Row i of the Jacobian: -p_i p_j/T, and p_i (1 - p_i)/T on the diagonal, where 1 - p_i of a p_i above 1/2 is the
   sum of the others: subtraction would show the rounding of p_i. */
CSM_INLINE void jacobian_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *p, const elem *g, elem *y,
                              const temper *t, int unit)
{
    (void)g;
    const ptrdiff_t i = b->first + row;
    real pi = v_first(v_load_n(p + i, 1, 0));
    vec minus = v_set(-pi);
    for (ptrdiff_t j = 0; j < w->count; j++)
        store_at(w, y, j, V_LANES, product_over_T(minus, load_at(w, p, j, V_LANES, 0), t, unit));
    vec others = v_set(1 - pi);
    if (pi > (real)0.5) {
        walk before = walk_along(i), after = walk_along(b->n - i - 1);
        others = w_round(w_sum(sum_pass(&before, p, 0), sum_pass(&after, p + i + 1, 0)));
    }
    v_store_n(y + i, product_over_T(v_set(pi), others, t, unit), 1);
}
