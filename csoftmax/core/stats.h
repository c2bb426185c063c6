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

/* The largest lane, in all lanes; lanes are not NaN. */
CSM_INLINE vec v_hmax(vec a)
{
    for (int i = 0; i < V_FOLDS; i++)
        a = v_max(a, v_fold(a, i));
    return a;
}

/* The largest logit, NaN passed over; -inf of an empty row. */
CSM_INLINE vec max_pass(const walk *w, const elem *x, ptrdiff_t xs)
{
    const ptrdiff_t step = step_of(w, xs);
    vec a = v_set(-INFINITY), b = a, c = a, d = a;
    ptrdiff_t i = 0;
    for (; i + 4 <= w->full; i += 4) {
        a = v_max(v_load(x + i * step), a);
        b = v_max(v_load(x + (i + 1) * step), b);
        c = v_max(v_load(x + (i + 2) * step), c);
        d = v_max(v_load(x + (i + 3) * step), d);
    }
    for (; i < w->count; i++)
        a = v_max(load_at(w, x, i, step, -INFINITY), a);
    a = v_max(v_max(a, b), v_max(c, d));
    return w->along ? v_hmax(a) : a;
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

/* Sums over a row. Split by a pivot, some logit of the row, whose exponential is left out: where one logit holds
   nearly all of S, S - e is lost by subtraction, but the sum of the others is right to the last bits. */
typedef struct {
    wide other;         /* exponentials of the logits that differ from the pivot; all of them without a pivot */
    vec count;          /* how many logits equal the pivot                                                    */
    wide drops;         /* soft targets: sum of q (max - x)/T                                                 */
    wide mass;          /* soft targets: sum of q                                                             */
} sums;

/* What an exp pass does besides summing; constants at each use. */
enum { KEEP_EXP = 1, SPLIT = 2, SOFT = 4 };

/* The arrays and numbers of an exp pass. */
typedef struct {
    const walk *w;
    const elem *x, *q;
    elem *y;
    ptrdiff_t xstep, qstep, ystep;
    vec pivot, m;
    const shift *s;
    const temper *t;
    int unit, what;
} exp_job;

/* `count` vectors from the i-th on. They are added in `wide`: each rounding in `real` would cost a softmax an ULP
   where one logit holds most of the sum. A target of 0 takes no part whatever its logit: 0 * inf = 0. */
CSM_INLINE void exp_step(const exp_job *j, ptrdiff_t i, int count, sums *s)
{
    vec x[4], e[4];
    EACH(u, count) e[u] = x[u] = load_at(j->w, j->x, i + u, j->xstep, -INFINITY);
    exp_many(e, count, j->s, j->t, j->unit);
    EACH(u, count) {
        if (j->what & KEEP_EXP)
            store_at(j->w, j->y, i + u, j->ystep, e[u]);
        if (j->what & SPLIT) {
            mask differs = v_ne(x[u], j->pivot);
            e[u] = v_keep(differs, e[u]);
            s->count = v_add_unless(differs, s->count, v_set(1));
        }
        if (j->what & SOFT) {
            vec q = load_at(j->w, j->q, i + u, j->qstep, 0), d = drop(j->m, x[u], j->t, j->unit);
            s->drops = w_add(s->drops, v_keep(v_ne(q, v_set(0)), v_mul(q, d)));
            s->mass = w_add(s->mass, q);
        }
        s->other = w_add(s->other, e[u]);
    }
}

/* Exponentials of a row and their sums. KEEP_EXP stores them in y, SPLIT leaves out the pivot, SOFT sums over q. */
CSM_INLINE sums exp_pass(const walk *w, const elem *x, ptrdiff_t xs, elem *y, ptrdiff_t ys,
                         const elem *q, ptrdiff_t qs, vec pivot, vec m,
                         const shift *shifted, const temper *t, int unit, int what)
{
    const exp_job j = {w, x, q, y, step_of(w, xs), step_of(w, qs), step_of(w, ys), pivot, m, shifted, t, unit, what};
    sums s = {w_zero(), v_set(0), w_zero(), w_zero()};
    ptrdiff_t i = 0;
    for (; i + 4 <= w->full; i += 4)
        exp_step(&j, i, 4, &s);
    for (; i < w->count; i++)
        exp_step(&j, i, 1, &s);
    if (w->along) {
        s.other = w_hsum(s.other);
        if (what & SPLIT)
            s.count = w_round(w_hsum(w_of(s.count)));
        if (what & SOFT) {
            s.drops = w_hsum(s.drops);
            s.mass = w_hsum(s.mass);
        }
    }
    return s;
}

/* The sum without one logit equal to the pivot, whose exponential is e. */
CSM_INLINE wide rest_of(const sums *s, vec e)
{
    return w_add_product(s->other, v_sub(s->count, v_set(1)), e);
}

CSM_INLINE vec ratio(wide rest, vec e) { return w_round(w_div(rest, w_of(e))); }

/* y = e a + q b in one pass, with a = hi + lo; q NULL: absent. Rows that are not `alive` get 0 whatever e is. */
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
