/* The entropy of softmax and its gradient; and the body of the expectation, which has the same sums.
   The letters are those of docs/derivation.md. With d_j = (m - x_j)/T and D = sum p d:

     entropy    H = L_m + D
     gradient   dH/dx_j = -p_j (log p_j + H)/T = p_j (d_j - D)/T

   for log p_j = -d_j - L_m: what the two have in common is never added. */
#ifndef CSM_ENTROPY_H
#define CSM_ENTROPY_H

#include "expectation.h"

/* y = e (d - D) a, a = 1/(S T); D as the sum of two. */
typedef struct { shift s; vec D, D_lo; multiple_of_e a; } entropy_job;

/* Exponentials are computed again: y may be x. Where d - D is small beside 1, e is not: their product is normal. */
CSM_INLINE vec slope_in(vec x, const entropy_job *j, const temp_consts *t, int T_is_1)
{
    const vec e = v_exp(x, &j->s, t, T_is_1);
    const vec d = v_where(v_ne(e, v_set(0)), v_sub(v_sub(scaled_diff(j->s.m, x, t, T_is_1), j->D), j->D_lo));
    return times_gap(e, d, &j->a);
}

/* Inlined wherever they are used these would be a twentieth of the library. */
static CSM_SHARED vec slope_T1(vec x, const entropy_job *j)
{
    const temp_consts one = temp_consts_T1();
    return slope_in(x, j, &one, 1);
}

static CSM_SHARED vec slope_any(vec x, const entropy_job *j, const temp_consts *t) { return slope_in(x, j, t, 0); }

CSM_INLINE void entropy_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const entropy_job *const all = state;
    (void)o;
    EACH(u, count) {
        const entropy_job *j = all + owner(t, u);
        const vec x = load_at(t, p->x, i, u, p->xs, whole, -INFINITY);
        store_at(t, p->y, i, u, p->ys, whole, t.mode.T_is_1 ? slope_T1(x, j) : slope_any(x, j, t.temp));
    }
}

CSM_INLINE void entropy_pass(tile t, const entropy_job *j)
{
    for_each_cursor(t, entropy_step, j, FIELDS(entropy_job), (pass_opts){0});
}

CSM_INLINE void entropy_body(tile t)
{
    shift s[TILE_VECTORS];
    sums e[TILE_VECTORS];
    row_stats a[TILE_VECTORS];
    acc D[TILE_VECTORS], scale[TILE_VECTORS];
    entropy_job j[TILE_VECTORS];
    pivot v[TILE_VECTORS];
    const int values = t.b->g || t.b->weight;       /* an expectation */
    if (values)
        pivots_of(t, v);
    EACH_ROW_VECTOR(u, t) {
        vec upscale = v_set(EXP_UPSCALE);
        scale[u] = t.b->y ? scales_of(row_vector_of(t, u), &upscale) : a_zero();
        if (values)
            upscale = v_min(most_upscale(&v[u]), upscale);
        s[u] = shift_of(t.max[u], upscale, t.temp, t.mode.T_is_1);
        if (values)
            s[u].m = v[u].c;
    }
    exp_pass(t, s, e, (pass_opts){.split_max = 1, .entropy = 1, .values = values});
    if (values) {
        finish_expectation(t, e, scale, v);
        return;
    }
    finish_stats(t, s, e, a);
    EACH_ROW_VECTOR(u, t) {
        D[u] = a_div(e[u].sum_c_gap, a[u].S);
        const vec L = v_log1p(a[u].rest_ratio);
        vec r;
        if (RARELY(a[u].any_tiny)) {
            const mask is_tiny = v_eq(a[u].rest_ratio, v_set(0));
            r = v_add(L, a_round(a_unless(is_tiny, D[u])));
            r = v_select(is_tiny, a_result(a_sum(a[u].tiny, D[u])), r);
        } else {
            r = v_add(L, a_round(D[u]));
        }
        store_result(row_vector_of(t, u), r);
    }
    if (!t.b->y)
        return;
    EACH_ROW_VECTOR(u, t) {
        const vec hi = round_of(D[u], a[u].any_tiny);
        const vec lo = a_round(a_unless(v_lt(hi, v_set(NEAR_TINY)), a_sub(D[u], a_of(hi))));
        j[u] = (entropy_job){s[u], hi, lo, multiple_by(a_div(scale[u], a[u].S))};
    }
    entropy_pass(t, j);
}

#endif
