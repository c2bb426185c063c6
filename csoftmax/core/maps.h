/* Maps of logits: softmax, log_softmax, logsumexp, entropy, log p of labels. Includes nothing; needs stats.h before it. */

/* y = e/S. */
CSM_INLINE void softmax_body(const batch *k)
{
    vec m = max_pass(k);
    shift s = shift_of(m, v_set(EXP_LIFT), k->t, k->unit);
    sums e = exp_pass(k, m, &s, KEEP_EXP);
    scale_pass(k, w_div(w_set(1), e.other), m, 0);
}

/* The largest logits m, and S/e_m - 1, the sum of the exponentials but that of one max over it: log1p of this is
   L = log(S/e_m). Three maps need no more; they share one function for each layout and T = 1 or not, as code inlined in
   each would make the library a tenth larger. */
typedef struct { vec m, rest; } gist;

#define GIST(name, ALONG, UNIT)                                                         \
    static __attribute__((noinline)) void name(const batch *rows, gist *a)              \
    {                                                                                   \
        const temper one = temper_of(1);                                                \
        batch k = *rows;                                                                \
        k.along = ALONG;                                                                \
        k.unit = UNIT;                                                                  \
        k.t = UNIT ? &one : rows->t;                                                    \
        a->m = max_pass(&k);                                                            \
        shift s = shift_of(a->m, v_set(EXP_LIFT), k.t, UNIT);                           \
        sums e = exp_pass(&k, a->m, &s, SPLIT);                                         \
        vec top = v_exp(a->m, &s, k.t, UNIT);                                           \
        a->rest = ratio(rest_of(&e, top), top);                                         \
    }

GIST(gist_along_unit, 1, 1)
GIST(gist_along, 1, 0)
GIST(gist_across_unit, 0, 1)
GIST(gist_across, 0, 0)

CSM_INLINE gist gist_of(const batch *k)
{
    gist a;
    if (k->along)
        k->unit ? gist_along_unit(k, &a) : gist_along(k, &a);
    else
        k->unit ? gist_across_unit(k, &a) : gist_across(k, &a);
    return a;
}

CSM_INLINE void log_softmax_step(const batch *k, const strand *p, ptrdiff_t i, int count, int whole, vec m, vec L)
{
    EACH(u, count) {
        vec x = load_at(k, p->x, i + u, p->xs, whole, 0);
        store_at(k, p->y, i + u, p->ys, whole, v_sub(drop(x, m, k->t, k->unit), L));
    }
}

/* y = (x - m)/T - L. */
CSM_INLINE void log_softmax_body(const batch *k)
{
    real ms[V_LANES], Ls[V_LANES];
    const gist a = gist_of(k);
    v_put(ms, a.m);
    v_put(Ls, v_log1p(a.rest));
    for (ptrdiff_t s = 0; s < strands(k); s++) {
        const strand p = strand_of(k, s);
        const vec max = share(k, ms, s), L = share(k, Ls, s);
        EACH_VECTOR(k, own_span(k), 1, log_softmax_step(k, &p, i, count, whole, max, L));
    }
}

/* r = m/T + L; where m is infinite, m, unless the row holds a NaN. */
CSM_INLINE void logsumexp_body(const batch *k)
{
    const gist a = gist_of(k);
    vec r = v_add_log1p(over_T(a.m, k->t, k->unit), a.rest);
    mask infinite = v_eq(v_abs(a.m), v_set(INFINITY));
    if (m_any(infinite)) {
        mask clean = v_eq(nan_pass(k), v_set(0));
        r = v_pick(infinite, v_pick(clean, a.m, v_set(NAN)), r);
    }
    store_result(k, r);
}

/* r = L + sum e (m - x)/T / S. */
CSM_INLINE void entropy_body(const batch *k)
{
    vec m = max_pass(k);
    shift s = shift_of(m, v_set(EXP_LIFT), k->t, k->unit);
    sums e = exp_pass(k, m, &s, SPLIT | ENTROPY);
    vec top = v_exp(m, &s, k->t, k->unit);
    wide rest = rest_of(&e, top);
    store_result(k, v_add(v_log1p(ratio(rest, top)), w_round(w_div(e.drops, w_add(rest, top)))));
}
