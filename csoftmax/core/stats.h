/* How a block is walked, and what is learnt of its rows on the way: max, shift, sums.
   Includes nothing; needs kernels.h, a vector header, its accumulator, math/exp.h and math/log1p.h before it.

   Every pass is written once for both layouts. A walk is a sequence of vectors at x, x + step, x + 2 step, ...

     along   one row is walked: step V_LANES, the last vector may be partial; sums are made over the lanes at the end
     across  V_LANES rows are walked, one a lane: step is the class stride; a lane needs nothing of its neighbours

   `along` and `unit` (T = 1) are constants wherever these functions are inlined. */

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
CSM_INLINE vec load_at(const walk *w, const elem *x, ptrdiff_t i, ptrdiff_t step, real fill)
{
    return i < w->full ? v_load(x + i * step) : v_load_n(x + i * step, w->lanes, fill);
}

CSM_INLINE void store_at(const walk *w, elem *y, ptrdiff_t i, ptrdiff_t step, vec v)
{
    if (i < w->full)
        v_store(y + i * step, v);
    else
        v_store_n(y + i * step, v, w->lanes);
}

/* One number per row, from the lanes of r (lane 0 of a walk along). */
CSM_INLINE void store_result(const csm_block *b, const walk *w, ptrdiff_t row, vec r)
{
    real *out = (real *)b->r + row, lane[V_LANES];
    if (w->along) {
        *out = v_first(r);
        return;
    }
    v_put(lane, r);
    memcpy(out, lane, (size_t)w->lanes * sizeof *out);
}

/* The vectors that the unrolled loops take at a time, and the adds after which a sum is flushed to `wide`:
   enough to hide the flush, few enough that float32 sums stay within half an ULP. */
enum { UNROLL = 4, RUN = 8 };

/* The largest logit, NaN passed over; -inf of an empty row. */
CSM_INLINE vec max_pass(const walk *w, const elem *x, ptrdiff_t xs)
{
    const ptrdiff_t step = step_of(w, xs);
    vec m[UNROLL];
    for (int u = 0; u < UNROLL; u++)
        m[u] = v_set(-INFINITY);
    ptrdiff_t i = 0;
    for (; i + UNROLL <= w->full; i += UNROLL)
        for (int u = 0; u < UNROLL; u++)
            m[u] = v_max(v_load(x + (i + u) * step), m[u]);
    for (; i < w->count; i++)
        m[0] = v_max(load_at(w, x, i, step, -INFINITY), m[0]);
    for (int u = 1; u < UNROLL; u++)
        m[0] = v_max(m[u], m[0]);
    return w->along ? v_hmax(m[0]) : m[0];
}

/* Whether a row holds a NaN: 1 in its lanes, else 0. For rows whose max is infinite; not on a fast path. */
CSM_INLINE vec nan_pass(const walk *w, const elem *x, ptrdiff_t xs)
{
    vec found = v_set(0), one = v_set(1);
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec v = load_at(w, x, i, step_of(w, xs), 0);
        found = v_max(found, v_sub(one, v_keep(v_eq(v, v), one)));
    }
    return w->along ? v_hmax(found) : found;
}

/* Sums of the exponentials e of a row, split by a pivot, some logit of it: where one logit holds nearly all of S,
   S - e of that logit is lost by subtraction, but other + (at - e) is right to the last bits. */
typedef struct {
    wide other;         /* e of the logits that differ from the pivot; all e without a pivot   */
    wide at;            /* e of the logits that equal it                                       */
    wide drops;         /* soft targets: sum of q (max - x)                                    */
    wide mass;          /* soft targets: sum of q                                              */
} sums;

/* What an exp pass does besides summing; constants at each use. */
enum { KEEP_EXP = 1, SPLIT = 2, SOFT = 4 };

/* Running sums in `real`, flushed into `sums`. */
typedef struct { vec other, at, drops, mass; } partial;

CSM_INLINE void exp_step(partial *p, vec e, vec x, vec pivot, int what)
{
    if (what & SPLIT) {
        mask hit = v_eq(x, pivot);
        p->other = v_add_unless(hit, p->other, e);
        p->at = v_add_if(hit, p->at, e);
    } else
        p->other = v_add(p->other, e);
}

/* A target of 0 takes no part, whatever the logit: 0 * inf = 0. */
CSM_INLINE void soft_step(partial *p, vec q, vec x, vec m)
{
    mask absent = v_eq(q, v_set(0));
    vec product = v_mul(q, v_sub(m, x));
    p->drops = v_add_unless(absent, p->drops, product);
    p->mass = v_add(p->mass, q);
}

CSM_INLINE void flush(sums *s, const partial *p, int what)
{
    s->other = w_add(s->other, p->other);
    if (what & SPLIT)
        s->at = w_add(s->at, p->at);
    if (what & SOFT) {
        s->drops = w_add(s->drops, p->drops);
        s->mass = w_add(s->mass, p->mass);
    }
}

/* Exponentials of a row and their sums. KEEP_EXP stores them in y, SPLIT splits by pivot, SOFT sums over q; m is
   the max, needed for SOFT alone. */
CSM_INLINE sums exp_pass(const walk *w, const elem *x, ptrdiff_t xs, elem *y, ptrdiff_t ys,
                         const elem *q, ptrdiff_t qs, vec pivot, vec m,
                         const shift *s, const temper *t, int unit, int what)
{
    const ptrdiff_t xstep = step_of(w, xs), ystep = step_of(w, ys), qstep = step_of(w, qs);
    sums out = {w_zero(), w_zero(), w_zero(), w_zero()};
    for (ptrdiff_t i = 0; i < w->count;) {
        partial p[UNROLL];
        memset(p, 0, sizeof p);
        ptrdiff_t whole = i + RUN * UNROLL < w->full ? i + RUN * UNROLL : w->full;
        for (; i + UNROLL <= whole; i += UNROLL)
            for (int u = 0; u < UNROLL; u++) {
                vec v = v_load(x + (i + u) * xstep), e = v_exp(v, s, t, unit);
                exp_step(&p[u], e, v, pivot, what);
                if (what & SOFT)
                    soft_step(&p[u], v_load(q + (i + u) * qstep), v, m);
                if (what & KEEP_EXP)
                    v_store(y + (i + u) * ystep, e);
            }
        ptrdiff_t rest = i + RUN < w->count ? i + RUN : w->count;
        if (whole == w->full)
            for (; i < rest; i++) {
                vec v = load_at(w, x, i, xstep, -INFINITY), e = v_exp(v, s, t, unit);
                exp_step(&p[0], e, v, pivot, what);
                if (what & SOFT)
                    soft_step(&p[0], load_at(w, q, i, qstep, 0), v, m);
                if (what & KEEP_EXP)
                    store_at(w, y, i, ystep, e);
            }
        for (int u = 0; u < UNROLL; u++)
            flush(&out, &p[u], what);
    }
    if (w->along) {
        out.other = w_hsum(out.other);
        if (what & SPLIT)
            out.at = w_hsum(out.at);
        if (what & SOFT) {
            out.drops = w_hsum(out.drops);
            out.mass = w_hsum(out.mass);
        }
    }
    return out;
}

/* The sum without one logit equal to the pivot, whose exponential is e. */
CSM_INLINE wide rest_of(const sums *s, vec e) { return w_sum(s->other, w_sub(s->at, w_of(e))); }

/* log(S/e), from the sum without e. */
CSM_INLINE vec log_ratio(wide rest, vec e) { return v_log1p(w_round(w_div(rest, w_of(e)))); }

/* y = e a + q b in one pass, with a = a_hi + a_lo; q NULL: absent. Rows that are not `alive` get 0 whatever e is. */
CSM_INLINE void scale_pass(const walk *w, elem *y, ptrdiff_t ys, vec hi, vec lo,
                           const elem *q, ptrdiff_t qs, vec b, const mask *alive)
{
    const ptrdiff_t ystep = step_of(w, ys), qstep = step_of(w, qs);
    for (ptrdiff_t i = 0; i < w->count; i++) {
        vec e = load_at(w, y, i, ystep, 0);
        vec v = v_fma(e, hi, v_mul(e, lo));
        if (q)
            v = v_fma(load_at(w, q, i, qstep, 0), b, v);
        store_at(w, y, i, ystep, alive ? v_keep(*alive, v) : v);
    }
}
