/* Maps of logits: softmax, log_softmax, logsumexp. */
#ifndef CSM_SOFTMAX_H
#define CSM_SOFTMAX_H

#include "exp_sum.h"
#include "scale.h"

/* y = e/S. */
CSM_INLINE void softmax_body(tile t)
{
    shift s[TILE_VECTORS];
    sums e[TILE_VECTORS];
    affine j[TILE_VECTORS];
    shift_rows(t, s);
    exp_pass(t, s, e, (pass_opts){.keep_exp = 1});
    EACH_ROW_VECTOR(u, t) j[u] = affine_of(t, a_div(a_set(1), e[u].sum_below_max), v_set(0), (pass_opts){0});
    scale_pass(t, j, (pass_opts){0});
}

/* Row max and rest ratio, from which three maps follow: logsumexp = max/T + log1p(rest ratio). These maps share one
   function for each layout, and T = 1 or not. */
typedef struct { vec m, rest_ratio; acc tiny; int any_tiny; } lse_terms;

CSM_INLINE void lse_terms_in(tile t, lse_terms *a)
{
    shift s[TILE_VECTORS];
    sums e[TILE_VECTORS];
    row_stats all[TILE_VECTORS];
    shift_rows(t, s);
    exp_pass(t, s, e, (pass_opts){.split_max = 1});
    finish_stats(t, s, e, all);
    EACH_ROW_VECTOR(u, t) a[u] = (lse_terms){s[u].m, all[u].rest_ratio, all[u].tiny, all[u].any_tiny};
}

#define LSE_TERMS(name, BY_ROWS, T_IS_1, VECTORS)                                                               \
    static CSM_SHARED void name(const csm_block *b, ptrdiff_t row, ptrdiff_t rows, ptrdiff_t next, vec *max,    \
                                const temp_consts *t, lse_terms *a)                                             \
    {                                                                                                           \
        const temp_consts one = temp_consts_T1();                                                               \
        const mode m = {.by_rows = BY_ROWS, .T_is_1 = T_IS_1, .width = VECTORS};                                \
        tile k = tile_of(b, row, rows, T_IS_1 ? &one : t, m);                                                   \
        k.max = max;                                                                                            \
        k.next = next;                                                                                          \
        lse_terms_in(k, a);                                                                                     \
    }

LSE_TERMS(lse_terms_rows_T1, 1, 1, 1)
LSE_TERMS(lse_terms_rows, 1, 0, 1)
LSE_TERMS(lse_terms_cols_T1, 0, 1, 1)
LSE_TERMS(lse_terms_cols, 0, 0, 1)
LSE_TERMS(lse_terms_full_cols_T1, 0, 1, TILE_VECTORS)
LSE_TERMS(lse_terms_full_cols, 0, 0, TILE_VECTORS)

CSM_INLINE void lse_terms_of(tile t, lse_terms *a)
{
    if (t.mode.single)
        lse_terms_in(t, a);
    else if (t.mode.T_is_1)
        (t.mode.by_rows ? lse_terms_rows_T1 : t.mode.width > 1 ? lse_terms_full_cols_T1 : lse_terms_cols_T1)
            (t.b, t.row, t.rows, t.next, t.max, NULL, a);
    else
        (t.mode.by_rows ? lse_terms_rows : t.mode.width > 1 ? lse_terms_full_cols : lse_terms_cols)
            (t.b, t.row, t.rows, t.next, t.max, t.temp, a);
}

/* log p is (x - m)/T - L, and `own` for the largest logit: a tiny L shows there alone, and is 0 in L. */
typedef struct { vec m, L, own; } logarithm;

/* Returns whether an L is tiny. */
CSM_INLINE int logarithms_of(tile t, logarithm *j)
{
    lse_terms a[TILE_VECTORS];
    int any = 0;
    lse_terms_of(t, a);
    EACH_ROW_VECTOR(u, t) {
        const vec L = v_log1p(a[u].rest_ratio);
        j[u] = (logarithm){a[u].m, L, v_sub(v_set(0), L)};
        if (RARELY(a[u].any_tiny))
            j[u].own = a_result(a_sub(a_of(j[u].own), a[u].tiny));
        any |= a[u].any_tiny;
    }
    return any;
}

CSM_INLINE vec logarithm_of(tile t, vec x, const logarithm *j, int any_tiny)
{
    const vec v = v_sub(scaled_diff(x, j->m, t.temp, t.mode.T_is_1), j->L);
    return any_tiny ? v_select(v_eq(x, j->m), j->own, v) : v;
}

CSM_INLINE void log_softmax_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const logarithm *const all = state;
    EACH(u, count) {
        const vec x = load_at(t, p->x, i, u, p->xs, whole, 0);
        store_at(t, p->y, i, u, p->ys, whole, logarithm_of(t, x, all + owner(t, u), o.any_tiny));
    }
}

CSM_INLINE void log_softmax_pass(tile t, const logarithm *j, int any_tiny)
{
    for_each_cursor(t, log_softmax_step, j, FIELDS(logarithm), (pass_opts){.any_tiny = any_tiny});
}

/* A row that stays in no cache is written by non-temporal stores of aligned vectors: a line that is stored to otherwise
   is read from memory first (docs/notes/memory.md). */
CSM_INLINE void stream_log_softmax(tile t, const logarithm *j)
{
    const cursor p = cursor_of(t, 0);
    const vector_range own = own_range(t, CSM_APPLY);
    const ptrdiff_t end = own.end < t.count ? own.end * V_LANES : t.b->n, left = end - own.begin * V_LANES;
    ptrdiff_t i = own.begin * V_LANES, head = misaligned(p.y + i, V_LANES);
    head = head < left ? head : left;
    v_store_n(p.y + i, logarithm_of(t, v_load_n(p.x + i, head, 0), j, 1), head);
    for (i += head; i + V_LANES <= end; i += V_LANES)
        v_stream(p.y + i, logarithm_of(t, v_load(p.x + i), j, 1));
    v_store_n(p.y + i, logarithm_of(t, v_load_n(p.x + i, end - i, 0), j, 1), end - i);
    v_drain();
}

CSM_INLINE void log_softmax_body(tile t)
{
    logarithm j[TILE_VECTORS];
    const int any_tiny = logarithms_of(t, j);
    if (t.mode.by_rows && t.b->policy.stream_output)
        stream_log_softmax(t, j);
    else
        log_softmax_pass(t, j, any_tiny);
}

/* r = m/T + L; where m is infinite, m, unless the row holds a NaN. */
CSM_INLINE void logsumexp_body(tile t)
{
    lse_terms a[TILE_VECTORS];
    lse_terms_of(t, a);
    EACH_ROW_VECTOR(u, t) {
        const tile part = row_vector_of(t, u);
        const vec m = a[u].m;
        vec r = v_add_log1p(over_T(m, t.temp, t.mode.T_is_1), a[u].rest_ratio);
        if (RARELY(a[u].any_tiny))
            r = a_result(a_add(a[u].tiny, r));
        mask infinite = v_eq(v_abs(m), v_set(INFINITY));
        if (m_any(infinite) && leads(t)) {
            mask clean = v_eq(nan_pass(part), v_set(0));
            r = v_select(infinite, v_select(clean, m, v_set(NAN)), r);
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
CSM_INLINE void store_pair(tile t, vec first, vec second)
{
    real a[V_LANES], b[V_LANES], *to = (real *)t.b->r + 2 * t.row;
    v_put(a, first), v_put(b, second);
    for (ptrdiff_t i = 0; leads(t) && i < t.rows; i++)
        to[2 * i] = a[i], to[2 * i + 1] = b[i];
}

/* r = (m + log abs(v), the sign of v) with v = sum b e / e_m. That is right if no b is so large that what counts may be
   missing in v, an exponential being 0 or a product having overflowed: if abs(v) is not small beside the sum of abs(b),
   which no NaN is, nor an infinity. Other rows are left to the caller, and so are those of which nothing remains. */
CSM_INLINE void factors_body(tile t)
{
    shift s[TILE_VECTORS];
    sums e[TILE_VECTORS];
    shift_rows(t, s);
    exp_pass(t, s, e, (pass_opts){.factors = 1});
    EACH_ROW_VECTOR(u, t) {
        const vec exp_max = v_exp(s[u].m, &s[u], t.temp, t.mode.T_is_1);
        const vec sum = a_round(a_div(e[u].sum_c_gap, a_of(exp_max))), v = v_abs(sum);
        const vec factors = v_max(a_round(e[u].sum_below_max), v_set(real_power(2 - RANGE_BITS / 2)));
        const vec left = v_set(CSM_UNSETTLED), most = v_set(real_power(RANGE_BITS - 2));
        vec sign = v_select(v_lt(v_set(0), sum), v_set(1), v_set(-1));
        sign = v_select(v_le(factors, v_mul(v, v_set(real_power(RANGE_BITS / 2)))), sign, left);
        store_pair(row_vector_of(t, u), add_log(s[u].m, v), v_select(v_le(v, most), sign, left));
    }
}

#endif
