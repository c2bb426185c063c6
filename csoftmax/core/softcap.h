/* Soft capping of logits, u = cap tanh(x/cap), and its derivative. Includes nothing; needs stats.h before it.

   With v = e^(-2 abs(x)/cap): tanh = (1 - v)/(1 + v), and its derivative 4v/(1 + v)^2 does not cancel as 1 - tanh^2
   does. The capped logit is right to cap 2^-23 (float32) in absolute terms, which is what a softmax feels. */

/* v, rounded once where it is subnormal. */
CSM_INLINE vec decay(vec x, const temper *t)
{
    const shift s = shift_of(v_set(0), v_set(EXP_LIFT), t, 0);
    return v_mul(v_exp(v_sub(v_set(0), v_abs(x)), &s, t, 0), v_power(v_set(EXP_MAGIC + EXP_BIAS - EXP_LIFT)));
}

CSM_INLINE vec capped(vec x, vec cap, const temper *t)
{
    vec one = v_set(1), v = decay(x, t), u = v_mul(cap, v_div(v_sub(one, v), v_add(one, v)));
    return v_pick(v_lt(x, v_set(0)), v_sub(v_set(0), u), u);
}

CSM_INLINE vec uncapped(vec g, vec x, const temper *t)
{
    vec v = decay(x, t), w = v_div(v_set(2), v_add(v_set(1), v));
    return v_keep(v_ne(g, v_set(0)), v_mul(g, v_mul(v, v_mul(w, w))));     /* 0 of an ignored row, whatever x is */
}

static void cap_logits(void *logits, ptrdiff_t n, double cap)
{
    elem *x = logits;
    const temper t = temper_of(cap / 2);
    ptrdiff_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        v_store(x + i, capped(v_load(x + i), v_set((real)cap), &t));
    v_store_n(x + i, capped(v_load_n(x + i, n - i, 0), v_set((real)cap), &t), n - i);
}

static void uncap_gradient(void *gradient, const void *logits, ptrdiff_t n, double cap)
{
    elem *g = gradient;
    const elem *x = logits;
    const temper t = temper_of(cap / 2);
    ptrdiff_t i = 0;
    for (; i + V_LANES <= n; i += V_LANES)
        v_store(g + i, uncapped(v_load(g + i), v_load(x + i), &t));
    v_store_n(g + i, uncapped(v_load_n(g + i, n - i, 0), v_load_n(x + i, n - i, 0), &t), n - i);
}
