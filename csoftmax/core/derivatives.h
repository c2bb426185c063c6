/* Products with the Jacobians of softmax and log_softmax, and the Jacobian itself, from probabilities p.
   Includes nothing; needs stats.h before it. In a block x is p. */

typedef struct {
    ptrdiff_t full;         /* whole vectors, which come first              */
    ptrdiff_t count;        /* all vectors                                  */
    ptrdiff_t lanes;        /* lanes of a vector that is not whole          */
    int along;
} walk;

CSM_INLINE walk walk_along(ptrdiff_t n)
{
    walk w = {n / V_LANES, (n + V_LANES - 1) / V_LANES, n % V_LANES, 1};
    return w;
}

CSM_INLINE walk walk_across(ptrdiff_t n, ptrdiff_t lanes)
{
    walk w = {lanes == V_LANES ? n : 0, n, lanes, 0};
    return w;
}

CSM_INLINE ptrdiff_t step_of(const walk *w, ptrdiff_t stride) { return w->along ? V_LANES : stride; }

/* Vector i of a walk; lanes past the end are `fill`. */
CSM_INLINE vec walk_load(const walk *w, const elem *x, ptrdiff_t i, ptrdiff_t step, real fill)
{
    return i < w->full ? v_load(x + i * step) : v_load_n(x + i * step, w->lanes, fill);
}

CSM_INLINE void walk_store(const walk *w, elem *y, ptrdiff_t i, ptrdiff_t step, vec v)
{
    if (i < w->full)
        v_store(y + i * step, v);
    else
        v_store_n(y + i * step, v, w->lanes);
}

/* The sum of a row, not in `real`: it may cancel. */
CSM_INLINE wide sum_pass(const walk *w, const elem *x, ptrdiff_t xs)
{
    wide s = w_zero();
    for (ptrdiff_t i = 0; i < w->count; i++)
        s = w_add(s, walk_load(w, x, i, step_of(w, xs), 0));
    return w->along ? w_hsum(s) : s;
}

/* sum p h with h = (g - c)/T. c, g at the first p of at least 1/2, is taken off every g: where p is next to one-hot
   p (g - sum p g) would cancel. Along a row it is looked for on the way, and the sum begun again when it is found. */
CSM_INLINE vec dot_pass(const csm_block *b, const walk *w, const elem *p, const elem *g, vec *c,
                        const temper *t, int unit)
{
    const ptrdiff_t pstep = step_of(w, b->xs), gstep = step_of(w, b->gs);
    const vec half = v_set((real)0.5), zero = v_set(0), none = v_set(-INFINITY);
    int looking = w->along;
    *c = none;
    for (ptrdiff_t i = 0; i < w->count && !w->along; i++)
        *c = v_pick(v_le(half, walk_load(w, p, i, pstep, 0)), walk_load(w, g, i, gstep, 0), *c);
    *c = v_keep(v_lt(v_abs(*c), v_set(INFINITY)), *c);

    wide sum = w_zero();
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec v = walk_load(w, p, i, pstep, 0), u = walk_load(w, g, i, gstep, 0);
        if (looking && m_any(v_le(half, v))) {
            *c = v_hmax(v_pick(v_le(half, v), u, none));
            *c = v_keep(v_lt(v_abs(*c), v_set(INFINITY)), *c);
            looking = 0;
            sum = w_zero();
            i = -1;
            continue;
        }
        vec h = drop(u, *c, t, unit);
        h = unit ? h : v_keep(v_ne(v, zero), h);    /* h may overflow where T is tiny: 0 * inf */
        sum = w_add_product(sum, v, h);
    }
    return w_round(w->along ? w_hsum(sum) : sum);
}

/* y = p (h - sum p h), or h - sum p h where `weighted` is 0. */
CSM_INLINE void product_body(const csm_block *b, const walk *w, const elem *p, const elem *g, elem *y,
                             const temper *t, int unit, int weighted)
{
    const ptrdiff_t pstep = step_of(w, b->xs), gstep = step_of(w, b->gs), ystep = step_of(w, b->ys);
    vec c, dot = dot_pass(b, w, p, g, &c, t, unit);
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec h = v_sub(drop(walk_load(w, g, i, gstep, 0), c, t, unit), dot);
        if (weighted) {
            vec v = walk_load(w, p, i, pstep, 0), product = v_mul(v, h);
            h = unit ? product : v_keep(v_ne(v, v_set(0)), product);
        }
        walk_store(w, y, i, ystep, h);
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
        vec v = over_T(walk_load(w, g, i, gstep, 0), t, unit);
        walk_store(w, y, i, ystep, v_fnma(walk_load(w, p, i, pstep, 0), sum, v));
    }
}

/* Rows of Jacobians, one after another: row i of that of p is -p_i p/T, and p_i (1 - p_i)/T on the diagonal, where
   1 - p_i of a p_i above 1/2 is the sum of the others: subtraction would show the rounding of p_i. The block begins
   at row `first` of the first p; the p are xs apart. */
CSM_INLINE void jacobian_rows(const csm_block *b, const temper *t, int unit)
{
    const walk w = walk_along(b->n);
    const vec half = v_set((real)0.5);
    const elem *p = b->x;
    elem *y = b->y;
    vec top = half, rest = half;
    ptrdiff_t i = b->first;
    for (ptrdiff_t row = 0; row < b->rows; row++, y += b->ys) {
        if (row == 0 || i == b->n) {
            p += row ? b->xs : 0;
            i = row ? 0 : i;
            top = v_set(-INFINITY);
            for (ptrdiff_t j = 0; j < w.count; j++)
                top = v_max(walk_load(&w, p, j, V_LANES, -INFINITY), top);
            top = v_hmax(top);
            if (m_any(v_lt(half, top))) {
                wide sum = w_zero();
                for (ptrdiff_t j = 0; j < w.count; j++) {
                    vec v = walk_load(&w, p, j, V_LANES, 0);
                    sum = w_add(sum, v_keep(v_ne(v, top), v));
                }
                rest = w_round(w_hsum(sum));
            }
        }
        const vec pi = v_set(v_first(v_load_n(p + i, 1, 0))), minus = v_sub(v_set(0), pi);
        for (ptrdiff_t j = 0; j < w.count; j++)
            walk_store(&w, y, j, V_LANES, product_over_T(minus, walk_load(&w, p, j, V_LANES, 0), t, unit));
        vec others = v_pick(v_lt(half, pi), v_pick(v_eq(pi, top), rest, v_sub(v_set(1), pi)), v_sub(v_set(1), pi));
        v_store_n(y + i, product_over_T(pi, others, t, unit), 1);
        i++;
    }
}
