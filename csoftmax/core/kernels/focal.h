/* Focal losses, of single labels: with r = rest/S = 1 - p_t, and l the loss without it,

     row loss   r^gamma l
     gradient   f s/T (p_j - delta_jt),     f = r^gamma (1 + gamma p_t l/r)

   The factors are those of math/power.h. */
#ifndef CSM_FOCAL_H
#define CSM_FOCAL_H

#include "../math/power.h"
#include "exp_sum.h"

/* Exponentials times a power of two of their row; 0 where they are below `least`. */
typedef struct { vec power, least; } lowering;

CSM_INLINE vec power_of_two(vec n) { return v_power(v_add(v_set(EXP_MAGIC + EXP_BIAS), n)); }

CSM_INLINE void lower_step(tile t, const cursor *p, ptrdiff_t i, int count, int whole, void *state, pass_opts o)
{
    const lowering *const all = state;
    (void)o;
    EACH(u, count) {
        const lowering *j = all + owner(t, u);
        const vec e = load_at(t, p->y, i, u, p->ys, whole, 0);
        store_at(t, p->y, i, u, p->ys, whole, v_mul(v_unless(v_lt(e, j->least), e), j->power));
    }
}

#endif
