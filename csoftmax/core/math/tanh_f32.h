/* What softcap.h needs to know of float32. */
#ifndef CSM_TANH_F32_H
#define CSM_TANH_F32_H

#include "../vec/vec.h"

/* P(z) of tools/coefficients.py, z <= 0.1225: tanh within 5.2e-10. */
CSM_INLINE vec tanh_p(vec z)
{
    vec p = v_fma(v_set(-0x1.3ea274p-6f), z, v_set(0x1.b8272ep-5f));   /* -0.0194479115, 0.0537296198 */
    p = v_fma(p, z, v_set(-0x1.110c34p-3f));                            /* -0.133324057                */
    return v_fma(p, z, v_set(0x1.55554ep-2f));                          /* 0.333333224                 */
}

#endif
