/* The entropy of softmax and its gradient. Includes nothing; needs losses.h, for the scale of a gradient, before it.
   The letters are those of docs/derivation.md. With d_j = (m - x_j)/T and D = sum p d:

     entropy    H = L_m + D
     gradient   dH/dx_j = -p_j (log p_j + H)/T = p_j (d_j - D)/T

   for log p_j = -d_j - L_m: what the two have in common is never added. */

/* y = e (d - D) a, a = 1/(S T); D as the sum of two. */
typedef struct { shift s; vec D, D_lo; multiple_of_e a; } entropy_job;

/* Exponentials are computed again: y may be x. Where d - D is small beside 1, e is not: their product is normal. */
CSM_INLINE vec slope_in(vec x, const entropy_job *j, const temper *t, int unit)
{
    const vec e = v_exp(x, &j->s, t, unit);
    const vec d = v_keep(v_ne(e, v_set(0)), v_sub(v_sub(drop(j->s.m, x, t, unit), j->D), j->D_lo));
    const vec v = v_mul(e, d), size = v_abs(v);
    const vec y = RARELY(m_any(v_lt(size, j->a.least))) ? times_small_e(size, &j->a) : times_e(size, &j->a);
    return v_pick(v_lt(v, v_set(0)), v_sub(v_set(0), y), y);
}

/* Inlined wherever they are used these would be a twentieth of the library. */
static CSM_SHARED vec slope_unit(vec x, const entropy_job *j)
{
    const temper one = unit_temper();
    return slope_in(x, j, &one, 1);
}

static CSM_SHARED vec slope_any(vec x, const entropy_job *j, const temper *t) { return slope_in(x, j, t, 0); }

CSM_INLINE void entropy_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, const entropy_job *all)
{
    EACH(u, count) {
        const entropy_job *j = all + owner(k, u);
        const vec x = load_at(k, p->x, i, u, p->xs, whole, -INFINITY);
        store_at(k, p->y, i, u, p->ys, whole, k.unit ? slope_unit(x, j) : slope_any(x, j, k.t));
    }
}

CSM_INLINE void entropy_pass(batch k, const entropy_job *j)
{
    EACH_STRAND(k, entropy_job, j, {
        const batch here = at_strand(k, r);
        EACH_VECTOR(k, own_span(k), entropy_step(here, &p, i, count, whole, mine));
    });
}

CSM_INLINE void entropy_body(batch k)
{
    shift s[WIDTH];
    sums e[WIDTH];
    summary a[WIDTH];
    wide D[WIDTH], scale[WIDTH];
    entropy_job j[WIDTH];
    shift_rows(k, s);
    EACH_PART(u, k) {
        vec lift;
        scale[u] = w_zero();
        if (!k.b->y)
            continue;
        scale[u] = scales_of(part_of(k, u), &lift);
        s[u] = shift_of(k.max[u], lift, k.t, k.unit);
    }
    exp_pass(k, s, SPLIT | ENTROPY, e);
    summarise(k, s, e, a);
    EACH_PART(u, k) {
        D[u] = w_div(e[u].drops, a[u].S);
        const vec L = v_log1p(a[u].ratio);
        vec r;
        if (RARELY(a[u].any_tiny)) {
            const mask is_tiny = v_eq(a[u].ratio, v_set(0));
            r = v_add(L, w_round(w_drop(is_tiny, D[u])));
            r = v_pick(is_tiny, w_result(w_sum(a[u].tiny, D[u])), r);
        } else {
            r = v_add(L, w_round(D[u]));
        }
        store_result(part_of(k, u), r);
    }
    if (!k.b->y)
        return;
    EACH_PART(u, k) {
        const vec hi = round_of(D[u], a[u].any_tiny);
        const vec lo = w_round(w_drop(v_lt(hi, v_set(NEAR_TINY)), w_sub(D[u], w_of(hi))));
        j[u] = (entropy_job){s[u], hi, lo, multiple_by(w_div(scale[u], a[u].S))};
    }
    entropy_pass(k, j);
}
