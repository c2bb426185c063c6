/* The exponentials of a row, e_j = e^(x_j/T) 2^-n0, without the rounding of x - max.

   Subtracting the largest logit in floating point is the largest error of a softmax (8 ULP at moderate offsets).
   Here the reduction x/T = n ln2 + t, which any exp makes, takes it off: each row has an integer n0 with
   e^(max/T) 2^-n0 in 2^EXP_UPSCALE [0.7, 1.42], and n0 is subtracted in the exponent, where that is exact:

       e^(x/T) 2^-n0 = 2^(n - n0) (1 + t + t^2 q(t)),   abs(t) <= ln2/2

   Where a vector looks up V_TABLE = 16 powers in a step, n is a multiple of 1/16 and q is shorter:

       e^(x/T) 2^-n0 = 2^floor(n - n0) 2^(j/16) (1 + t + t^2 q(t)),   abs(t) <= ln2/32

   With what a power lacks of 2^(j/16) added, that is faster and has two thirds of the error (docs/notes/exp.md).

   Where abs(max/T) > EXP_NEAR, x - max is exact for every x whose exponential is not 0 (Sterbenz), and is taken.

   An exponential is 0 or a normal number: the upscale keeps up all that can show in a result, and what lies further
   below the max than that is 0. */
#ifndef CSM_EXP_H
#define CSM_EXP_H

#include "../vec/vec.h"
#include "temperature.h"

/* What is taken off the logits of a row (or of V_LANES rows, one a lane). */
typedef struct {
    vec c;              /* subtracted first, exactly: 0, or the max         */
    vec base;           /* added to n: the last bits of the sum are n - n0, for v_power or v_raise */
    vec plain;          /* x 2^-k above this is taken as it is; infinite where c is not 0 */
    vec floor;          /* where (x - c) 2^-k is not above this, e is 0: ... */
    vec lowest;         /* ... it is replaced by this, whose power is 0     */
    vec m;              /* the largest logit                                */
} shift;

/* v times what gives (x - c) 2^-k back for v = n. */
CSM_INLINE vec times_ln2(vec v, const temp_consts *t) { return v_fma(v, t->hi, v_mul(v, t->lo)); }

/* The shift of rows whose largest logit is m; the exponentials come out 2^upscale times larger, 0 <= upscale <=
   EXP_MAX_UPSCALE. */
CSM_INLINE shift shift_of(vec m, vec upscale, const temp_consts *t, int T_is_1)
{
    vec d = T_is_1 ? m : v_mul(m, t->pow2);
    mask near = v_le(v_abs(d), t->near);
    d = v_where(near, d);
    shift s;
    s.c = v_select(near, v_set(0), m);
    const vec n0 = v_sub(multiple(d, t), upscale);
    s.base = v_sub(v_set(V_TABLE > 1 ? EXP_MAGIC / V_TABLE : EXP_MAGIC + EXP_BIAS), n0);
    s.floor = times_ln2(v_add(n0, v_set(EXP_LEAST)), t);
    s.lowest = times_ln2(v_sub(n0, v_set(EXP_BIAS)), t);
    s.plain = v_select(near, s.floor, v_set(INFINITY));
    s.m = m;
    return s;
}

/* t^2, but not so small that it is subnormal. */
CSM_INLINE vec square_of(vec t) { return V_FUSED ? v_fma(t, t, v_set(TINY * TINY)) : v_mul(t, t); }

/* p[u] = rest[u] + t^2 q(t) of t[u]. Coefficients go in pairs, by Horner's rule in t^2: half as long a chain. */
CSM_INLINE void add_tail(vec *p, const vec *t, const vec *rest, int count)
{
    enum { COEFFICIENTS = sizeof exp_c / sizeof *exp_c, FIRST = 2 - COEFFICIENTS % 2 };
    vec square[4];
    EACH(u, count) square[u] = square_of(t[u]);
    EACH(u, count) p[u] = FIRST == 1 ? v_set(exp_c[0]) : v_fma(v_set(exp_c[0]), t[u], v_set(exp_c[1]));
    _Pragma("GCC unroll 16") for (int k = FIRST; k < COEFFICIENTS; k += 2)
        EACH(u, count) p[u] = v_fma(p[u], square[u], v_fma(v_set(exp_c[k]), t[u], v_set(exp_c[k + 1])));
    EACH(u, count) p[u] = v_fma(square[u], p[u], rest[u]);
}

/* A logit whose multiple of ln2 is off: x/T = n ln2 + t. */
typedef struct {
    vec n, t;           /* n + base; t, in the unit of x */
} reduced;

/* Whether one of the v[u] is not to be taken as it is. A NaN may hide others of its lane: they are of its row. */
CSM_INLINE int any_not_plain(const vec *v, int count, const shift *s, int each)
{
    vec lowest = v[0];
    if (!each) {
        EACH(u, count) lowest = v_min(v[u], lowest);
        return m_any(v_le(lowest, s->plain));
    }
    mask below = v_le(v[0], s[0].plain);
    EACH(u, count) below = m_or(below, v_le(v[u], s[u].plain));
    return m_any(below);
}

/* The first half of exponentials, of x[u] for u < count. The shift is s[0] for all of them, or s[u] for each.

   A chain of twenty dependent operations is longer than a core looks ahead, so several vectors go through it step
   by step, side by side: softmax of 4096 classes takes 0.22 instead of 0.26 ns per element (docs/notes/exp.md).
   `count` and `each` are constants. */
CSM_INLINE void reduce_many(reduced *a, const vec *x, int count, const shift *s, int each, const temp_consts *t,
                            int T_is_1)
{
    vec n[4], r[4];
    EACH(u, count) r[u] = T_is_1 ? x[u] : v_mul(x[u], t->pow2);
    if (RARELY(any_not_plain(r, count, s, each)))
        EACH(u, count) {
            const shift *of = s + (each ? u : 0);
            r[u] = v_sub(x[u], of->c);
            r[u] = T_is_1 ? r[u] : v_mul(r[u], t->pow2);
            r[u] = v_select(v_le(r[u], of->floor), of->lowest, r[u]);
        }
    EACH(u, count) a[u].n = v_fma(r[u], t->per, s[each ? u : 0].base);
    EACH(u, count) n[u] = v_sub(a[u].n, s[each ? u : 0].base);
    EACH(u, count) r[u] = v_fnma(n[u], t->hi, r[u]);
    EACH(u, count) a[u].t = v_fnma(n[u], t->lo, r[u]);
    if (!V_FUSED)       /* products of its own with coefficients would be subnormal */
        EACH(u, count) a[u].t = v_unless(v_lt(v_abs(a[u].t), v_set(TINY)), a[u].t);
}

/* t/T', or of a tiny t a neighbour of it whose rest is normal as well. */
CSM_INLINE vec quotient_of_reduced(vec t, const temp_consts *of)
{
    return V_FUSED ? v_sub(v_fma(t, of->inv, v_set(NEAR_TINY)), v_set(NEAR_TINY)) : v_mul(t, of->inv);
}

/* The second: e[u] = e^(x/T) 2^-n0, within 1.1 ULP where x <= max, 0.8 with a table; 0 for -inf; NaN for NaN, and in
   rows whose max is infinite. Powers are looked up as late as they are needed: earlier, they would be spilled. */
CSM_INLINE void exp_reduced(vec *e, const reduced *a, int count, const temp_consts *t, int T_is_1)
{
    vec r[4], p[4];
    EACH(u, count) r[u] = a[u].t;
    if (T_is_1) {
        add_tail(p, r, r, count);
    } else {
        vec scaled[4], low[4];
        EACH(u, count) scaled[u] = quotient_of_reduced(r[u], t);
        EACH(u, count) low[u] = v_fma(r[u], t->inv_lo, v_mul_err(r[u], t->inv, scaled[u]));
        add_tail(p, scaled, low, count);
        EACH(u, count) p[u] = v_add(scaled[u], p[u]);
    }
    EACH(u, count) {
#if V_TABLE > 1
        const vec power = v_raise(v_lookup(powers, a[u].n), a[u].n);
        p[u] = v_add(p[u], v_lookup(power_rests, a[u].n));
#else
        const vec power = v_power(a[u].n);
#endif
        /* The same number, but a product of its own may be subnormal. */
        e[u] = V_FUSED ? v_fma(power, p[u], power) : v_mul(power, v_add(v_set(1), p[u]));
    }
}

CSM_INLINE vec v_exp(vec x, const shift *s, const temp_consts *t, int T_is_1)
{
    reduced a;
    reduce_many(&a, &x, 1, s, 0, t, T_is_1);
    exp_reduced(&x, &a, 1, t, T_is_1);
    return x;
}

#endif
