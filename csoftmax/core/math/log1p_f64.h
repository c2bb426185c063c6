/* What math/log1p.h needs to know of float64. */
#ifndef CSM_LOG1P_F64_H
#define CSM_LOG1P_F64_H

#ifndef CSM_ISA
#define CSM_ALONE_F64      /* which vectors vec.h stands in with */
#endif
#include "../vec/vec.h"

/* P(z) of tools/coefficients.py, z <= 0.0295: log within 1.3e-18. */
CSM_INLINE vec log_p(vec z)
{
    vec p = v_set(0x1.2f1410dd66496p-3);                /* 0.14798749137552097 */
    p = v_fma(p, z, v_set(0x1.39a05cc2361e0p-3));       /* 0.15313789813696044 */
    p = v_fma(p, z, v_set(0x1.74664b894204dp-3));       /* 0.18183573734882189 */
    p = v_fma(p, z, v_set(0x1.c71c51d0a28d9p-3));       /* 0.22222198408082397 */
    p = v_fma(p, z, v_set(0x1.249249423099ep-2));       /* 0.28571428743830463 */
    p = v_fma(p, z, v_set(0x1.999999997f9b9p-2));       /* 0.39999999999409003 */
    return v_fma(p, z, v_set(0x1.5555555555593p-1));    /* 0.66666666666667351 */
}

#endif
