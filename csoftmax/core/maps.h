/* Maps of logits: softmax, log_softmax, logsumexp. Includes nothing; needs stats.h before it.

   A body computes the rows of one walk: x, g and y point at its first vector, `row` is its first row in the block. */

/* y = e/S. */
CSM_INLINE void softmax_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *x, const elem *g, elem *y,
                             const temper *t, int unit)
{
    (void)row, (void)g;
    vec m = max_pass(w, x, b->xs), hi, lo;
    shift s = shift_of(m, EXP_LIFT, t, unit);
    sums e = exp_pass(w, x, b->xs, y, b->ys, NULL, 0, m, m, &s, t, unit, KEEP_EXP);
    w_split(w_div(w_set(1), e.other), &hi, &lo);
    scale_pass(w, y, b->ys, hi, lo, NULL, 0, hi, NULL);
}

/* S/e_m - 1, the sum of the exponentials but that of one max, over it: log1p of this is L = log(S/e_m). */
CSM_INLINE vec rest_ratio(const csm_block *b, const walk *w, const elem *x, vec m, const temper *t, int unit)
{
    shift s = shift_of(m, EXP_LIFT, t, unit);
    sums e = exp_pass(w, x, b->xs, NULL, 0, NULL, 0, m, m, &s, t, unit, SPLIT);
    vec top = v_exp(m, &s, t, unit);
    return ratio(rest_of(&e, top), top);
}

/* y = (x - m)/T - L. */
CSM_INLINE void log_softmax_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *x, const elem *g,
                                 elem *y, const temper *t, int unit)
{
    (void)row, (void)g;
    const ptrdiff_t xstep = step_of(w, b->xs), ystep = step_of(w, b->ys);
    vec m = max_pass(w, x, b->xs), L = v_log1p(rest_ratio(b, w, x, m, t, unit));
    for (ptrdiff_t i = 0; i < w->count; i++)
        store_at(w, y, i, ystep, v_sub(drop(load_at(w, x, i, xstep, 0), m, t, unit), L));
}

/* r = m/T + L; where m is infinite, m, unless the row holds a NaN. */
CSM_INLINE void logsumexp_body(const csm_block *b, const walk *w, ptrdiff_t row, const elem *x, const elem *g,
                               elem *y, const temper *t, int unit)
{
    (void)g, (void)y;
    vec m = max_pass(w, x, b->xs);
    vec r = v_add_log1p(over_T(m, t, unit), rest_ratio(b, w, x, m, t, unit));
    mask infinite = v_eq(v_abs(m), v_set(INFINITY));
    if (m_any(infinite)) {
        mask clean = v_eq(nan_pass(w, x, b->xs), v_set(0));
        r = v_pick(infinite, v_pick(clean, m, v_set(NAN)), r);
    }
    store_result(b, w, row, r);
}
