/* Maps of logits: softmax, log_softmax, logsumexp. Includes nothing; needs stats.h before it. */

/* y = e/S. */
CSM_INLINE void softmax_body(batch k)
{
    shift s[WIDTH];
    sums e[WIDTH];
    scaling j[WIDTH];
    shift_rows(k, s);
    exp_pass(k, s, KEEP_EXP, e);
    EACH_PART(u, k) j[u] = scaling_of(k, w_div(w_set(1), e[u].other), v_set(0), 0);
    scale_pass(k, j, 0);
}

/* Three maps need of the summary no more than this. They share one function for each layout and T = 1 or not. */
typedef struct { vec m, ratio; wide tiny; int any_tiny; } gist;

CSM_INLINE void gist_in(batch k, gist *a)
{
    shift s[WIDTH];
    sums e[WIDTH];
    summary all[WIDTH];
    shift_rows(k, s);
    exp_pass(k, s, SPLIT, e);
    summarise(k, s, e, all);
    EACH_PART(u, k) a[u] = (gist){s[u].m, all[u].ratio, all[u].tiny, all[u].any_tiny};
}

#define GIST(name, ALONG, UNIT, WIDE)                                                               \
    static CSM_SHARED void name(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t next, vec *max, \
                                const temper *t, gist *a)                                           \
    {                                                                                               \
        const temper one = unit_temper();                                                           \
        batch k = batch_of(b, row, rows, UNIT ? &one : t, ALONG, UNIT, WIDE);                       \
        k.max = max;                                                                                \
        k.next = next;                                                                              \
        gist_in(k, a);                                                                              \
    }

GIST(gist_along_unit, 1, 1, 1)
GIST(gist_along, 1, 0, 1)
GIST(gist_across_unit, 0, 1, 1)
GIST(gist_across, 0, 0, 1)
GIST(gist_wide_unit, 0, 1, WIDTH)
GIST(gist_wide, 0, 0, WIDTH)

CSM_INLINE void gist_of(batch k, gist *a)
{
    if (k.lone)
        gist_in(k, a);
    else if (k.unit)
        (k.along ? gist_along_unit : k.width > 1 ? gist_wide_unit : gist_across_unit)
            (k.b, k.row, k.rows, k.next, k.max, NULL, a);
    else
        (k.along ? gist_along : k.width > 1 ? gist_wide : gist_across)
            (k.b, k.row, k.rows, k.next, k.max, k.t, a);
}

/* log p is (x - m)/T - L, and `own` for the largest logit: a tiny L shows there alone, and is 0 in L. */
typedef struct { vec m, L, own; } logarithm;

/* Returns whether an L is tiny. */
CSM_INLINE int logarithms_of(batch k, logarithm *j)
{
    gist a[WIDTH];
    int any = 0;
    gist_of(k, a);
    EACH_PART(u, k) {
        const vec L = v_log1p(a[u].ratio);
        j[u] = (logarithm){a[u].m, L, v_sub(v_set(0), L)};
        if (RARELY(a[u].any_tiny))
            j[u].own = w_result(w_sub(w_of(j[u].own), a[u].tiny));
        any |= a[u].any_tiny;
    }
    return any;
}

CSM_INLINE vec logarithm_of(batch k, vec x, const logarithm *j, int any_tiny)
{
    const vec v = v_sub(drop(x, j->m, k.t, k.unit), j->L);
    return any_tiny ? v_pick(v_eq(x, j->m), j->own, v) : v;
}

CSM_INLINE void log_softmax_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, const logarithm *all,
                                 int any_tiny)
{
    EACH(u, count) {
        const vec x = load_at(k, p->x, i, u, p->xs, whole, 0);
        store_at(k, p->y, i, u, p->ys, whole, logarithm_of(k, x, all + owner(k, u), any_tiny));
    }
}

CSM_INLINE void log_softmax_pass(batch k, const logarithm *j, int any_tiny)
{
    EACH_STRAND(k, logarithm, j, {
        const batch here = at_strand(k, r);
        EACH_VECTOR(k, own_span(k), log_softmax_step(here, &p, i, count, whole, mine, any_tiny));
    });
}

/* A row that stays in no cache is written past all of them, by aligned vectors: a line that is stored into is read from
   memory first (docs/notes/memory.md). */
CSM_INLINE void stream_log_softmax(batch k, const logarithm *j)
{
    const strand p = strand_of(k, 0);
    const span own = own_span(k);
    const ptrdiff_t end = own.end < k.count ? own.end * V_LANES : k.b->n, left = end - own.begin * V_LANES;
    ptrdiff_t i = own.begin * V_LANES, head = misaligned(p.y + i, V_LANES);
    head = head < left ? head : left;
    v_store_n(p.y + i, logarithm_of(k, v_load_n(p.x + i, head, 0), j, 1), head);
    for (i += head; i + V_LANES <= end; i += V_LANES)
        v_stream(p.y + i, logarithm_of(k, v_load(p.x + i), j, 1));
    v_store_n(p.y + i, logarithm_of(k, v_load_n(p.x + i, end - i, 0), j, 1), end - i);
    v_drain();
}

CSM_INLINE void log_softmax_body(batch k)
{
    logarithm j[WIDTH];
    const int any_tiny = logarithms_of(k, j);
    if (V_LANES > 1 && k.along && !k.stays && !k.cached && k.b->y != k.b->x)
        stream_log_softmax(k, j);
    else
        log_softmax_pass(k, j, any_tiny);
}

/* r = m/T + L; where m is infinite, m, unless the row holds a NaN. */
CSM_INLINE void logsumexp_body(batch k)
{
    gist a[WIDTH];
    gist_of(k, a);
    EACH_PART(u, k) {
        const batch part = part_of(k, u);
        const vec m = a[u].m;
        vec r = v_add_log1p(over_T(m, k.t, k.unit), a[u].ratio);
        if (RARELY(a[u].any_tiny))
            r = w_result(w_add(a[u].tiny, r));
        mask infinite = v_eq(v_abs(m), v_set(INFINITY));
        if (m_any(infinite)) {
            mask clean = v_eq(nan_pass(part), v_set(0));
            r = v_pick(infinite, v_pick(clean, m, v_set(NAN)), r);
        }
        store_result(part, r);
    }
}

/* m + log(v), v > 0 and of a size that abs(log2) <= RANGE_BITS - 2; right to a rounding of the larger of m and 1. */
CSM_INLINE vec add_log(vec m, vec v)
{
    const vec n = v_exponent(v), rest = v_sub(v_mul(v, v_power(v_sub(v_set(EXP_MAGIC + EXP_BIAS), n))), v_set(1));
    vec err;
    const vec sum = two_sum(m, v_mul(n, v_set(LN2_HI)), &err);
    return v_add(sum, v_add(v_log1p(rest), v_fma(n, v_set(LN2_LO), err)));
}

/* Two numbers per row, side by side in r. */
CSM_INLINE void store_pair(batch k, vec first, vec second)
{
    real a[V_LANES], b[V_LANES], *to = (real *)k.b->r + 2 * k.row;
    v_put(a, first), v_put(b, second);
    for (ptrdiff_t i = 0; leads(k) && i < k.rows; i++)
        to[2 * i] = a[i], to[2 * i + 1] = b[i];
}

/* r = (m + log abs(v), the sign of v) with v = sum b e / e_m. That is right if no b is so large that what counts may be
   missing in v, an exponential being 0 or a product having overflowed: if abs(v) is not small beside the sum of abs(b),
   which no NaN is, nor an infinity. Other rows are left to the caller, and so are those of which nothing remains. */
CSM_INLINE void factors_body(batch k)
{
    shift s[WIDTH];
    sums e[WIDTH];
    shift_rows(k, s);
    exp_pass(k, s, FACTORS, e);
    EACH_PART(u, k) {
        const vec sum = w_round(w_div(e[u].drops, w_of(v_exp(s[u].m, &s[u], k.t, k.unit)))), v = v_abs(sum);
        const vec factors = v_max(w_round(e[u].other), v_set(real_power(2 - RANGE_BITS / 2)));
        const vec left = v_set(CSM_UNSETTLED), most = v_set(real_power(RANGE_BITS - 2));
        vec sign = v_pick(v_lt(v_set(0), sum), v_set(1), v_set(-1));
        sign = v_pick(v_le(factors, v_mul(v, v_set(real_power(RANGE_BITS / 2)))), sign, left);
        store_pair(part_of(k, u), add_log(s[u].m, v), v_pick(v_le(v, most), sign, left));
    }
}
