/* Temperatures, and quotients by them that neither lose bits nor overflow on the way. */
#ifndef CSM_TEMPERATURE_H
#define CSM_TEMPERATURE_H

#include "../vec/vec.h"
#include "double.h"
#include "product.h"

/* A temperature, made ready. T = T' 2^k with T' in [1/2, 1) below 1 and in [1, 2) from there on, so that neither
   scaling up first nor scaling down last overflows on the way to v/T. */
typedef struct {
    vec pow2;           /* 2^-k                                             */
    vec grow, shrink;   /* 2^-k = grow * shrink, one of which is 1          */
    vec per;            /* log2(e)/T'                                       */
    vec hi, lo;         /* T' ln2                                           */
    vec inv, inv_lo;    /* 1/T'                                             */
    vec near;           /* EXP_NEAR T'                                      */
} temp_consts;

/* The first `bits` significant bits of a. */
CSM_INLINE double leading_bits(double a, int bits)
{
    uint64_t u;
    memcpy(&u, &a, sizeof u);
    u &= ~(uint64_t)0 << (53 - bits);
    memcpy(&a, &u, sizeof u);
    return a;
}

/* The numbers of one temperature. */
typedef struct { real pow2, grow, shrink, per, hi, lo, inv, inv_lo, near; } temp_scalars;

CSM_INLINE temp_scalars temp_scalars_of(double T)
{
    const double ln2 = 0x1.62e42fefa39efp-1, ln2_rest = 0x1.abc9e3b39803fp-56;
    T = T > T_MAX ? T_MAX : T < 1 / T_MAX ? 1 / T_MAX : T;
    int k = exponent_of(T) - (T >= 1);
    k = k > T_POWERS ? T_POWERS : k < -T_POWERS ? -T_POWERS : k;
    T *= power_of(-k);
    const double a = T * ln2, hi = leading_bits(a, LN2_BITS), inv = (real)(1 / T), one = inv * T;
    const double lo = a - hi + (product_error(T, ln2, a) + T * ln2_rest);
    const double inv_lo = (1 - one - product_error(inv, T, one)) / T;
    const real pow2 = (real)power_of(-k);
    return (temp_scalars){pow2, k < 0 ? pow2 : 1, k < 0 ? 1 : pow2, (real)(1 / a), (real)hi, (real)lo,
                       (real)inv, (real)inv_lo, (real)(EXP_NEAR * T)};
}

/* T = 1, a constant where it is inlined. */
CSM_INLINE temp_consts temp_consts_T1(void)
{
    temp_consts t = {v_set(1), v_set(1), v_set(1), v_set(LOG2E), v_set(LN2_HI), v_set(LN2_LO), v_set(1), v_set(0),
                v_set(EXP_NEAR)};
    return t;
}

/* Inlined in every kernel, this and the next function would be a tenth of the library. */
static CSM_SHARED temp_consts temp_consts_of(double T)
{
    if (T == 1)
        return temp_consts_T1();
    const temp_scalars a = temp_scalars_of(T);
    temp_consts t = {v_set(a.pow2), v_set(a.grow), v_set(a.shrink), v_set(a.per), v_set(a.hi), v_set(a.lo),
                     v_set(a.inv), v_set(a.inv_lo), v_set(a.near)};
    return t;
}

/* t[0] of up to V_LANES temperatures, one a lane; lanes past them have the first. With `each`, t[1 + i] of the i-th, in
   all lanes. The compiler makes vectors of the loop. */
static CSM_SHARED void temp_consts_of_rows(temp_consts *t, const double *T, ptrdiff_t count, int each)
{
    double given[V_LANES];
    real pow2[V_LANES], grow[V_LANES], shrink[V_LANES], per[V_LANES], hi[V_LANES], lo[V_LANES];
    real inv[V_LANES], inv_lo[V_LANES], near[V_LANES];
    for (ptrdiff_t i = 0; i < V_LANES; i++)
        given[i] = T[i < count ? i : 0];
    for (ptrdiff_t i = 0; i < V_LANES; i++) {
        const temp_scalars a = temp_scalars_of(given[i]);
        pow2[i] = a.pow2, grow[i] = a.grow, shrink[i] = a.shrink, per[i] = a.per, hi[i] = a.hi, lo[i] = a.lo;
        inv[i] = a.inv, inv_lo[i] = a.inv_lo, near[i] = a.near;
    }
    t[0] = (temp_consts){v_get(pow2), v_get(grow), v_get(shrink), v_get(per), v_get(hi), v_get(lo), v_get(inv),
                    v_get(inv_lo), v_get(near)};
    for (ptrdiff_t i = 0; each && i < count; i++)
        t[1 + i] = (temp_consts){v_set(pow2[i]), v_set(grow[i]), v_set(shrink[i]), v_set(per[i]), v_set(hi[i]),
                                 v_set(lo[i]), v_set(inv[i]), v_set(inv_lo[i]), v_set(near[i])};
}

/* What v * inv lacks of v/T'; 0 where either is not finite. */
CSM_INLINE vec quotient_rest(vec v, vec product, const temp_consts *t)
{
    vec rest = v_fma(v, t->inv_lo, v_mul_err(v, t->inv, product));
    return v_where(v_lt(v_abs(rest), v_set(INFINITY)), rest);
}

/* a b/T, where neither overflow nor underflow comes before that of the result. */
CSM_INLINE vec product_over_T(vec a, vec b, const temp_consts *t, int T_is_1)
{
    if (T_is_1)
        return v_mul(a, b);
    vec v = v_mul(v_mul(a, t->grow), b), u = v_mul(v, t->inv);
    return v_mul(v_add(u, quotient_rest(v, u, t)), t->shrink);
}

/* The same with one rounding. */
CSM_INLINE vec exact_product_over_T(vec a, vec b, const temp_consts *t, int T_is_1)
{
    if (T_is_1)
        return v_mul(a, b);
    a = v_mul(a, t->grow);
    const vec v = v_mul(a, b), u = v_mul(v, t->inv), rest = v_mul(v_mul_err(a, b, v), t->inv);
    const vec lost = v_where(v_lt(v_abs(rest), v_set(INFINITY)), rest);
    return v_mul(v_add(u, v_add(quotient_rest(v, u, t), lost)), t->shrink);
}

CSM_INLINE vec over_T(vec v, const temp_consts *t, int T_is_1)
{
    return T_is_1 ? v : product_over_T(v, v_set(1), t, 0);
}

/* (a - b)/T; the difference overflows only where the quotient does. */
CSM_INLINE vec scaled_diff(vec a, vec b, const temp_consts *t, int T_is_1)
{
    if (T_is_1)
        return v_sub(a, b);
    vec d = v_mul(v_sub(v_mul(a, t->shrink), v_mul(b, t->shrink)), t->grow), u = v_mul(d, t->inv);
    return v_add(u, quotient_rest(d, u, t));
}

/* d/T' to the nearest multiple of ln2, for d = (x - c) 2^-k. */
CSM_INLINE vec multiple(vec d, const temp_consts *t)
{
    return v_sub(v_fma(d, t->per, v_set(EXP_MAGIC)), v_set(EXP_MAGIC));
}

#endif
