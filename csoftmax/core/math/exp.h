/* The exponentials of a row, e_j = e^(x_j/T) 2^-n0, without the rounding of x - max.
   Includes nothing; needs math/product.h, a vector header and math/exp_<real>.h before it.

   Subtracting the largest logit in floating point is the largest error of a softmax (8 ULP at moderate offsets).
   Here the reduction x/T = n ln2 + t, which any exp makes, takes it off: each row has an integer n0 with
   e^(max/T) 2^-n0 in 2^EXP_LIFT [0.7, 1.42], and n0 is subtracted in the exponent, where that is exact:

       e^(x/T) 2^-n0 = 2^(n - n0) (1 + t + t^2 q(t)),   abs(t) <= ln2/2

   Where abs(max/T) > EXP_NEAR, x - max is exact for every x whose exponential is not 0 (Sterbenz), and is taken.

   The lift keeps every exponential that can show in a result a normal number: a result that is subnormal is
   rounded once, when it is scaled. */

/* A temperature, made ready. T = T' 2^k with T' in [1/2, 1) below 1 and in [1, 2) from there on, so that neither
   scaling up first nor scaling down last overflows on the way to v/T. */
typedef struct {
    vec pow2;           /* 2^-k                                             */
    vec grow, shrink;   /* 2^-k = grow * shrink, one of which is 1          */
    vec per;            /* log2(e)/T'                                       */
    vec hi, lo;         /* T' ln2                                           */
    vec inv, inv_lo;    /* 1/T'                                             */
    vec near, reach;    /* EXP_NEAR T', EXP_REACH T'                        */
} temper;

/* What is taken off the logits of a row (or of V_LANES rows, one a lane). */
typedef struct {
    vec c;              /* subtracted first, exactly: 0, or the max         */
    vec n0;             /* the power of two                                 */
    vec floor;          /* (x - c) 2^-k is raised to this: e is 0 below     */
} shift;

/* Its first `bits` significant bits. */
CSM_INLINE double leading_bits(double a, int bits)
{
    uint64_t u;
    memcpy(&u, &a, sizeof u);
    u &= ~(uint64_t)0 << (53 - bits);
    memcpy(&a, &u, sizeof u);
    return a;
}

CSM_INLINE temper temper_of(double T)
{
    if (T == 1) {
        temper t = {v_set(1), v_set(1), v_set(1), v_set(LOG2E), v_set(LN2_HI), v_set(LN2_LO), v_set(1), v_set(0),
                    v_set(EXP_NEAR), v_set(EXP_REACH)};
        return t;
    }
    const double ln2 = 0x1.62e42fefa39efp-1, ln2_rest = 0x1.abc9e3b39803fp-56;
    T = T > T_MAX ? T_MAX : T < 1 / T_MAX ? 1 / T_MAX : T;
    int k;
    frexp(T, &k);
    k -= T >= 1;
    k = k > T_POWERS ? T_POWERS : k < -T_POWERS ? -T_POWERS : k;
    T = ldexp(T, -k);
    double a = T * ln2, hi = leading_bits(a, LN2_BITS), inv = (real)(1 / T), one = inv * T;
    double lo = a - hi + (product_error(T, ln2, a) + T * ln2_rest);
    double inv_lo = (1 - one - product_error(inv, T, one)) / T;
    real pow2 = (real)ldexp(1, -k);
    temper t = {v_set(pow2), v_set(k < 0 ? pow2 : 1), v_set(k < 0 ? 1 : pow2),
                v_set((real)(1 / a)), v_set((real)hi), v_set((real)lo), v_set((real)inv), v_set((real)inv_lo),
                v_set((real)(EXP_NEAR * T)), v_set((real)(EXP_REACH * T))};
    return t;
}

/* What v * inv lacks of v/T'; 0 where either is not finite. */
CSM_INLINE vec quotient_rest(vec v, vec product, const temper *t)
{
    vec rest = v_fma(v, t->inv_lo, v_mul_err(v, t->inv, product));
    return v_keep(v_lt(v_abs(rest), v_set(INFINITY)), rest);
}

/* a b/T, where neither overflow nor underflow comes before that of the result. */
CSM_INLINE vec product_over_T(vec a, vec b, const temper *t, int unit)
{
    if (unit)
        return v_mul(a, b);
    vec v = v_mul(v_mul(a, t->grow), b), u = v_mul(v, t->inv);
    return v_mul(v_add(u, quotient_rest(v, u, t)), t->shrink);
}

CSM_INLINE vec over_T(vec v, const temper *t, int unit) { return unit ? v : product_over_T(v, v_set(1), t, 0); }

/* (a - b)/T; the difference overflows only where the quotient does. */
CSM_INLINE vec drop(vec a, vec b, const temper *t, int unit)
{
    if (unit)
        return v_sub(a, b);
    vec d = v_mul(v_sub(v_mul(a, t->shrink), v_mul(b, t->shrink)), t->grow), u = v_mul(d, t->inv);
    return v_add(u, quotient_rest(d, u, t));
}

/* The multiple of ln2 nearest to d/T', for d = (x - c) 2^-k. */
CSM_INLINE vec multiple(vec d, const temper *t)
{
    return v_sub(v_fma(d, t->per, v_set(EXP_MAGIC)), v_set(EXP_MAGIC));
}

/* The shift of rows whose largest logit is m; the exponentials come out 2^lift times larger, 0 <= lift <= EXP_LIFT. */
CSM_INLINE shift shift_of(vec m, real lift, const temper *t, int unit)
{
    vec d = unit ? m : v_mul(m, t->pow2);
    mask near = v_le(v_abs(d), t->near);
    d = v_keep(near, d);
    shift s;
    s.c = v_pick(near, v_set(0), m);
    s.n0 = v_sub(multiple(d, t), v_set(lift));
    s.floor = v_sub(d, t->reach);
    return s;
}

/* x[u] = e^(x[u]/T) 2^-n0 for u < count, within 1.1 ULP where x <= max; 0 for -inf; NaN for NaN, and in rows whose
   max is infinite.

   A chain of twenty dependent operations is longer than a core looks ahead, so several vectors go through it step
   by step, side by side: softmax of 4096 classes takes 0.22 instead of 0.26 ns per element (docs/decisions/0006).
   `count` is a constant. */
CSM_INLINE void exp_many(vec *x, int count, const shift *s, const temper *t, int unit)
{
    vec n[4], r[4], p[4];
    EACH(u, count) r[u] = v_sub(x[u], s->c);
    if (!unit)
        EACH(u, count) r[u] = v_mul(r[u], t->pow2);
    EACH(u, count) r[u] = v_max(s->floor, r[u]);
    EACH(u, count) n[u] = multiple(r[u], t);
    EACH(u, count) r[u] = v_fnma(n[u], t->hi, r[u]);
    EACH(u, count) r[u] = v_fnma(n[u], t->lo, r[u]);
    if (unit) {
        exp_q(p, r, count);
        EACH(u, count) p[u] = v_fma(v_mul(r[u], r[u]), p[u], r[u]);
    } else {
        vec scaled[4];
        EACH(u, count) scaled[u] = v_mul(r[u], t->inv);
        exp_q(p, scaled, count);
        EACH(u, count) {
            vec rest = v_fma(r[u], t->inv_lo, v_mul_err(r[u], t->inv, scaled[u]));
            p[u] = v_add(scaled[u], v_fma(v_mul(scaled[u], scaled[u]), p[u], rest));
        }
    }
    EACH(u, count) x[u] = v_scale(v_add(v_set(1), p[u]), v_sub(n[u], s->n0));
}

CSM_INLINE vec v_exp(vec x, const shift *s, const temper *t, int unit)
{
    exp_many(&x, 1, s, t, unit);
    return x;
}
