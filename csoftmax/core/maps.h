/* Maps of logits: softmax, log_softmax, logsumexp, entropy. Includes nothing; needs stats.h before it. */

/* y = e/S. */
CSM_INLINE void softmax_body(batch k)
{
    vec m = max_pass(k);
    shift s = shift_of(m, v_set(EXP_LIFT), k.t, k.unit);
    sums e = exp_pass(k, m, &s, KEEP_EXP);
    scale_pass(k, w_div(w_set(1), e.other), m, 0);
}

/* Three maps need of the summary no more than this. They share one function for each layout and T = 1 or not. */
typedef struct { vec m, ratio; } gist;

#define GIST(name, ALONG, UNIT)                                                                     \
    static CSM_SHARED gist name(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, const temper *t) \
    {                                                                                               \
        const temper one = temper_of(1);                                                            \
        const batch k = batch_of(b, row, rows, UNIT ? &one : t, ALONG, UNIT);                       \
        const vec m = max_pass(k);                                                                  \
        const shift s = shift_of(m, v_set(EXP_LIFT), k.t, UNIT);                                    \
        const sums e = exp_pass(k, m, &s, SPLIT);                                                   \
        return (gist){m, summary_of(k, m, &s, &e).ratio};                                           \
    }

GIST(gist_along_unit, 1, 1)
GIST(gist_along, 1, 0)
GIST(gist_across_unit, 0, 1)
GIST(gist_across, 0, 0)

CSM_INLINE gist gist_of(batch k)
{
    if (k.unit)
        return (k.along ? gist_along_unit : gist_across_unit)(k.b, k.row, k.rows, NULL);
    return (k.along ? gist_along : gist_across)(k.b, k.row, k.rows, k.t);
}

CSM_INLINE void log_softmax_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, vec m, vec L)
{
    EACH(u, count) {
        vec x = load_at(k, p->x, i + u, p->xs, whole, 0);
        store_at(k, p->y, i + u, p->ys, whole, v_sub(drop(x, m, k.t, k.unit), L));
    }
}

/* y = (x - m)/T - L. */
CSM_INLINE void log_softmax_body(batch k)
{
    real ms[V_LANES], Ls[V_LANES];
    const gist a = gist_of(k);
    v_put(ms, a.m);
    v_put(Ls, v_log1p(a.ratio));
    for (ptrdiff_t s = 0; s < strands(k); s++) {
        const strand p = strand_of(k, s);
        const vec max = share(k, ms, s), L = share(k, Ls, s);
        EACH_VECTOR(k, own_span(k), log_softmax_step(k, &p, i, count, whole, max, L));
    }
}

/* r = m/T + L; where m is infinite, m, unless the row holds a NaN. */
CSM_INLINE void logsumexp_body(batch k)
{
    const gist a = gist_of(k);
    vec r = v_add_log1p(over_T(a.m, k.t, k.unit), a.ratio);
    mask infinite = v_eq(v_abs(a.m), v_set(INFINITY));
    if (m_any(infinite)) {
        mask clean = v_eq(nan_pass(k), v_set(0));
        r = v_pick(infinite, v_pick(clean, a.m, v_set(NAN)), r);
    }
    store_result(k, r);
}

/* r = L + sum e (m - x)/T / S. */
CSM_INLINE void entropy_body(batch k)
{
    vec m = max_pass(k);
    shift s = shift_of(m, v_set(EXP_LIFT), k.t, k.unit);
    sums e = exp_pass(k, m, &s, SPLIT | ENTROPY);
    const summary a = summary_of(k, m, &s, &e);
    store_result(k, v_add(a.L, w_round(w_div(e.drops, a.S))));
}
