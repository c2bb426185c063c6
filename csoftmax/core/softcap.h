/* Soft capping of logits, u = cap tanh(x/cap), and its slope du/dx. Includes nothing; needs stats.h before it.

   With v = e^(-2 abs(x)/cap): tanh = (1 - v)/(1 + v), and the slope 4v/(1 + v)^2 does not cancel as 1 - tanh^2
   does. The capped logit is right to cap 2^-23 (float32) in absolute terms, which is what a softmax feels. */

/* v, rounded once where it is subnormal. */
CSM_INLINE vec decay(vec x, const temper *t)
{
    const shift s = shift_of(v_set(0), v_set(EXP_LIFT), t, 0);
    return v_mul(v_exp(v_sub(v_set(0), v_abs(x)), &s, t, 0), v_power(v_set(EXP_MAGIC + EXP_BIAS - EXP_LIFT)));
}

CSM_INLINE vec capped(vec x, vec cap, const temper *t, vec *slope)
{
    const vec one = v_set(1), v = decay(x, t), part = v_div(one, v_add(one, v));
    const vec u = v_mul(v_mul(cap, v_sub(one, v)), part), twice = v_add(part, part);
    *slope = v_mul(v, v_mul(twice, twice));
    return v_pick(v_lt(x, v_set(0)), v_sub(v_set(0), u), u);
}

CSM_INLINE void cap_part(elem *x, elem *slopes, ptrdiff_t lanes, vec cap, const temper *t)
{
    vec slope;
    store_part(x, capped(load_part(x, lanes), cap, t, &slope), lanes);
    if (slopes)
        store_part(slopes, slope, lanes);
}

/* Caps logits; writes the slopes where there is a place for them. */
static void cap_logits(void *logits, void *slopes, ptrdiff_t n, double cap)
{
    elem *x = logits, *to = slopes;
    const temper t = temper_of(cap / 2);
    for (; n >= V_LANES; n -= V_LANES, x += V_LANES, to += to ? V_LANES : 0)
        cap_part(x, to, V_LANES, v_set((real)cap), &t);
    if (n)
        cap_part(x, to, n, v_set((real)cap), &t);
}

/* 0 of an ignored row, whatever its logits are. */
CSM_INLINE void uncap_part(elem *g, const elem *slopes, ptrdiff_t lanes)
{
    const vec v = load_part(g, lanes);
    store_part(g, v_keep(v_ne(v, v_set(0)), v_mul(v, load_part(slopes, lanes))), lanes);
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
