/* The rounding error of a sum. */
#ifndef CSM_TWO_SUM_H
#define CSM_TWO_SUM_H

#include "../vec/vec.h"

/* Knuth's two-sum: s + err = a + b exactly, whatever their order. */
CSM_INLINE vec two_sum(vec a, vec b, vec *err)
{
    vec s = v_add(a, b), t = v_sub(s, a);
    *err = v_add(v_sub(a, v_sub(s, t)), v_sub(b, t));
    return s;
}

#endif
