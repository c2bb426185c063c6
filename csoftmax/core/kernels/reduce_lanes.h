/* One number from the lanes of a vector, and of as many vectors as it has lanes. */
#ifndef CSM_REDUCE_LANES_H
#define CSM_REDUCE_LANES_H

#include "../vec/vec.h"

/* The largest lane, in all lanes; lanes are not NaN. */
CSM_INLINE vec v_hmax(vec a)
{
    for (int i = 0; i < V_LOG2_LANES; i++)
        a = v_max(a, v_swap_lanes(a, i));
    return a;
}

/* The sum of the lanes, in all lanes. */
CSM_INLINE vec v_hsum(vec a)
{
    for (int i = 0; i < V_LOG2_LANES; i++)
        a = v_add(a, v_swap_lanes(a, i));
    return a;
}

/* op over the lanes of each of s[0], s[1], ...: that of s[r] to lane r of s[0]. Step i takes together what is 2^i
   lanes apart, of two vectors at once. */
#define REDUCE_STEP(s, op, i)                                                   \
    if ((i) < V_LOG2_LANES)                                                     \
        _Pragma("GCC unroll 8") for (int r = 0; r < 1 << (i); r++) {            \
            const vec a = s[r % V_LANES], b = s[(r + (1 << (i))) % V_LANES];    \
            s[r % V_LANES] = op(v_zip_lo(a, b, (i)), v_zip_hi(a, b, (i)));      \
        }
#define REDUCE_EACH(s, op) REDUCE_STEP(s, op, 3) REDUCE_STEP(s, op, 2) REDUCE_STEP(s, op, 1) REDUCE_STEP(s, op, 0)

#endif
