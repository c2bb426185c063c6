/* Temperatures, and quotients by them that neither lose bits nor overflow on the way. Includes nothing; needs
   math/product.h, a vector header and math/exp_<real>.h before it. */

/* A temperature, made ready. T = T' 2^k with T' in [1/2, 1) below 1 and in [1, 2) from there on, so that neither
   scaling up first nor scaling down last overflows on the way to v/T. */
typedef struct {
    vec pow2;           /* 2^-k                                             */
    vec grow, shrink;   /* 2^-k = grow * shrink, one of which is 1          */
    vec per;            /* log2(e)/T'                                       */
    vec hi, lo;         /* T' ln2                                           */
    vec inv, inv_lo;    /* 1/T'                                             */
    vec near;           /* EXP_NEAR T'                                      */
} temper;

/* The n of a = f 2^n, f in [1/2, 1); -1022 of 0 and of subnormal numbers. */
CSM_INLINE int exponent_of(double a)
{
    uint64_t u;
    memcpy(&u, &a, sizeof u);
    return (int)(u >> 52 & 0x7ff) - 1022;
}

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
                    v_set(EXP_NEAR)};
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
                v_set((real)(EXP_NEAR * T))};
    return t;
}

/* Of up to V_LANES temperatures, one a lane. */
CSM_INLINE temper tempers_of(const double *T, ptrdiff_t count)
{
    enum { FIELDS = sizeof(temper) / sizeof(vec) };
    real lane[FIELDS][V_LANES];
    vec field[FIELDS];
    temper t;
    for (ptrdiff_t i = 0; i < V_LANES; i++) {
        t = temper_of(T[i < count ? i : 0]);
        memcpy(field, &t, sizeof t);
        for (int f = 0; f < FIELDS; f++)
            lane[f][i] = v_first(field[f]);
    }
    for (int f = 0; f < FIELDS; f++)
        field[f] = v_get(lane[f]);
    memcpy(&t, field, sizeof t);
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

/* d/T' to the nearest multiple of ln2, for d = (x - c) 2^-k. */
CSM_INLINE vec multiple(vec d, const temper *t)
{
    return v_sub(v_fma(d, t->per, v_set(EXP_MAGIC)), v_set(EXP_MAGIC));
}
