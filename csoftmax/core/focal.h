/* Focal losses, of single labels: with r = rest/S = 1 - p_t, and l the loss without it,

     row loss   r^gamma l
     gradient   f s/T (p_j - delta_jt),     f = r^gamma (1 + gamma p_t l/r)

   Includes nothing; needs stats.h before it. */

/* By what focal_gamma multiplies losses and gradients; the latter is about 2^-down. */
typedef struct { wide loss, gradient; vec down; } focus;

/* Whether a b, of which nothing larger is made, is 0 as `real`. */
CSM_INLINE int vanishes(double a, double b)
{
    enum { UP = 100 };      /* that the product is normal if a is */
    return fabs(a * power_of(UP) * b) < power_of(UP - RANGE_BITS - FRACTION_BITS - 1);
}

/* Of rows with this r, p_t and l, what is made of them multiplied by these. l/r is next to 1 where r is small. */
static CSM_SHARED focus focus_of(const csm_block *b, wide r, wide p, wide l, wide of_loss, wide of_gradient)
{
    double rest[V_LANES], own[V_LANES], loss[V_LANES], weight[V_LANES], scale[V_LANES];
    real down[V_LANES];
    w_store(rest, r), w_store(own, p), w_store(loss, l), w_store(weight, of_loss), w_store(scale, of_gradient);
    for (ptrdiff_t i = 0; i < V_LANES; i++) {
        const double power = rest[i] < b->focal_least ? 0 : pow(rest[i], b->focal_gamma);
        const double ratio = rest[i] < 0x1p-60 ? 1 : loss[i] / rest[i];
        const double f = power * (1 + (own[i] > 0 ? b->focal_gamma * own[i] * ratio : 0));
        loss[i] = !b->sums && vanishes(power * loss[i], weight[i]) ? 0 : power;
        own[i] = vanishes(f * rest[i], scale[i]) ? 0 : f;
        down[i] = (real)-exponent_of(own[i]);
    }
    return (focus){w_load(loss), w_load(own), v_get(down)};
}

/* Exponentials times a power of two of their row; 0 where they are below `least`. */
typedef struct { vec power, least; } lowering;

CSM_INLINE vec power_of_two(vec n) { return v_power(v_add(v_set(EXP_MAGIC + EXP_BIAS), n)); }

CSM_INLINE void lower_step(batch k, const strand *p, ptrdiff_t i, int count, int whole, const lowering *all)
{
    EACH(u, count) {
        const lowering *j = all + owner(k, u);
        const vec e = load_at(k, p->y, i, u, p->ys, whole, 0);
        store_at(k, p->y, i, u, p->ys, whole, v_mul(v_drop(v_lt(e, j->least), e), j->power));
    }
}
