/* What softcap.h needs to know of float64. */
#ifndef CSM_TANH_F64_H
#define CSM_TANH_F64_H

#ifndef CSM_ISA
#define CSM_ALONE_F64      /* which vectors vec.h stands in with */
#endif
#include "../vec/vec.h"

/* P(z) of tools/coefficients.py, z <= 0.1225: tanh within 1.3e-19. */
CSM_INLINE vec tanh_p(vec z)
{
    vec p = v_set(0x1.88ee1d57b430bp-13);               /* 0.00018736368905660663 */
    p = v_fma(p, z, v_set(-0x1.2e9c0c26ba342p-11));     /* -0.00057718193133125145 */
    p = v_fma(p, z, v_set(0x1.7d2a55efe1258p-10));      /* 0.0014540305091667229  */
    p = v_fma(p, z, v_set(-0x1.d6cea51f0d33dp-9));      /* -0.0035919739307480867 */
    p = v_fma(p, z, v_set(0x1.226e23de4d567p-7));       /* 0.0088632273806108063  */
    p = v_fma(p, z, v_set(-0x1.664f483b03f35p-6));      /* -0.021869488275171284  */
    p = v_fma(p, z, v_set(0x1.ba1ba1b974fcfp-5));       /* 0.053968253963517669   */
    p = v_fma(p, z, v_set(-0x1.1111111110b21p-3));      /* -0.13333333333329114   */
    return v_fma(p, z, v_set(0x1.5555555555553p-2));    /* 0.3333333333333332     */
}

#endif
