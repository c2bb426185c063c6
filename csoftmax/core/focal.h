/* Focal losses, of single labels: with r = rest/S = 1 - p_t, and l the loss without it,

     row loss   r^gamma l
     gradient   f s/T (p_j - delta_jt),     f = r^gamma (1 + gamma p_t l/r)

   The factors are those of math/power.h. Includes nothing; needs stats.h before it. */

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
