/* Soft capping of logits, u = cap tanh(x/cap), and its slope du/dx, each within 2 ULP at any cap.

   With a = abs(x)/cap and v = e^(-2a), tanh a = (1 - v)/(1 + v), and the slope is 4v/(1 + v)^2: it does not cancel as
   1 - tanh^2 does. Where a is small 1 - v does, and 1 - tanh^2 does not: there u = x - x a^2 P(a^2). A logit of -inf,
   which is no class, stays -inf.

   Slopes are kept 2^EXP_UPSCALE times larger, normal numbers where a gradient shows. */
#ifndef CSM_SOFTCAP_H
#define CSM_SOFTCAP_H

#include "../math/exp.h"
#include "../math/underflow.h"
#include "tile.h"

/* 1 + v and 1 - v as hi + lo, and 1/(1 + v) with its relative rest. */
typedef struct { vec sum, sum_lo, gap, gap_lo, inv, inv_rest; } decay;

CSM_INLINE decay decay_of(vec v)
{
    const vec one = v_set(1);
    decay j;
    j.sum = v_add(one, v);
    j.sum_lo = v_add(v_sub(one, j.sum), v);
    j.gap = v_sub(one, v);
    j.gap_lo = v_sub(v_sub(one, j.gap), v);
    j.inv = v_div(one, j.sum);
    const vec product = v_mul(j.inv, j.sum);
    j.inv_rest = v_fnma(j.inv, j.sum_lo, v_sub(v_sub(one, product), v_mul_err(j.inv, j.sum, product)));
    return j;
}

/* cap (1 - v)/(1 + v). */
CSM_INLINE vec cap_quotient(const decay *j, vec cap)
{
    const vec q = v_mul(j->gap, j->inv), product = v_mul(q, j->sum), u = v_mul(cap, q);
    vec rest = v_sub(v_sub(j->gap, product), v_mul_err(q, j->sum, product));
    rest = v_fnma(q, j->sum_lo, v_add(rest, j->gap_lo));
    return v_add(u, v_fma(v_mul(cap, j->inv), rest, v_mul_err(cap, q, u)));
}

/* 4v/(1 + v)^2. */
CSM_INLINE vec slope_of(const decay *j, vec v)
{
    const vec half = v_add(j->inv, j->inv), square = v_mul(half, half), slope = v_mul(v, square);
    const vec rest = v_fma(v_add(square, square), j->inv_rest, v_mul_err(half, half, square));
    return v_add(slope, v_fma(v, rest, v_mul_err(v, square, slope)));
}

/* Where a is small. w is at most 0.04: what `a` lacks of abs(x)/cap by rounding does not show. */
CSM_INLINE vec cap_near(vec x, vec a, vec *slope)
{
    const vec z = square_of(a), w = v_mul(z, tanh_p(z)), tanh = v_fnma(a, w, a);
    *slope = v_mul(v_fnma(tanh, tanh, v_set(1)), v_set(real_power(EXP_UPSCALE)));
    return v_fnma(x, w, x);
}

/* Elsewhere; t has the constants of cap/2. */
CSM_INLINE vec cap_far(vec x, vec cap, const temp_consts *t, vec *slope)
{
    const vec size = v_abs(x);
    const shift s = shift_of(v_set(0), v_set(EXP_UPSCALE), t, 0);
    const vec upscaled = v_exp(v_sub(v_set(0), size), &s, t, 0);
    const vec seen = v_unless(v_lt(upscaled, v_set(NEAR_TINY)), upscaled);    /* what shows beside 1 */
    const decay j = decay_of(v_mul(seen, v_set(real_power(-EXP_UPSCALE))));
    *slope = slope_of(&j, upscaled);
    const vec u = cap_quotient(&j, cap), signed_u = v_select(v_lt(x, v_set(0)), v_sub(v_set(0), u), u);
    return v_select(v_eq(x, v_set(-INFINITY)), x, signed_u);
}

CSM_INLINE vec capped(vec x, vec cap, const temp_consts *t, vec *slope)
{
    const vec half = v_mul(t->inv, v_set((real)0.5)), most = v_set((real)0.35);
    const vec a = v_mul(v_mul(v_mul(v_abs(x), t->grow), half), t->shrink);
    const vec u = cap_near(x, a, slope);
    if (!m_any(m_or(v_lt(most, a), v_ne(a, a))))
        return u;
    vec far_slope;
    const mask near = v_le(a, most);
    const vec far = cap_far(x, cap, t, &far_slope);
    *slope = v_select(near, *slope, far_slope);
    return v_select(near, u, far);
}

CSM_INLINE void cap_part(elem *x, elem *slopes, ptrdiff_t lanes, vec cap, const temp_consts *t)
{
    vec slope;
    store_part(x, capped(load_part(x, lanes), cap, t, &slope), lanes);
    if (slopes)
        store_part(slopes, slope, lanes);
}

/* Caps logits; writes the slopes unless `slopes` is NULL. */
static void cap_logits(void *logits, void *slopes, ptrdiff_t n, double cap)
{
    elem *x = logits, *to = slopes;
    const temp_consts t = temp_consts_of(cap / 2);
    for (; n >= V_LANES; n -= V_LANES, x += V_LANES, to += to ? V_LANES : 0)
        cap_part(x, to, V_LANES, v_set((real)cap), &t);
    if (n)
        cap_part(x, to, n, v_set((real)cap), &t);
}

/* g times a slope. Where the slope is so small that the product may be, it is made with care. */
CSM_INLINE vec times_slope(vec g, vec slope)
{
    enum { LEAST = EXP_UPSCALE + FRACTION_BITS + 3 - RANGE_BITS };
    const vec least = v_set(real_power(LEAST)), down = v_set(real_power(-EXP_UPSCALE));
    const mask small = v_lt(slope, least);
    const vec plain = v_mul(g, v_mul(v_max(least, slope), down));
    if (!RARELY(m_any(small)))
        return plain;
    const vec scaled = v_unscale(v_mul(v_mul(g, v_set(real_power(RANGE_BITS - EXP_UPSCALE))), slope));
    const mask fits = v_lt(v_abs(g), v_set(real_power(EXP_UPSCALE - 4)));
    return v_select(small, v_select(fits, scaled, v_mul(v_mul(g, down), slope)), plain);
}

/* 0 of an ignored row, whatever its logits are. */
CSM_INLINE void uncap_part(elem *g, const elem *slopes, ptrdiff_t lanes)
{
    const vec v = load_part(g, lanes);
    store_part(g, v_where(v_ne(v, v_set(0)), times_slope(v, load_part(slopes, lanes))), lanes);
}

static void uncap_gradient(void *gradient, const void *slopes, ptrdiff_t n)
{
    elem *g = gradient;
    const elem *by = slopes;
    for (; n >= V_LANES; n -= V_LANES, g += V_LANES, by += V_LANES)
        uncap_part(g, by, V_LANES);
    if (n)
        uncap_part(g, by, n);
}

#endif
