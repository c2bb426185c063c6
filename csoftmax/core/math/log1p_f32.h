/* What math/log1p.h needs to know of float32. */
#ifndef CSM_LOG1P_F32_H
#define CSM_LOG1P_F32_H

#include "../vec/vec.h"

/* P(z) of tools/coefficients.py, z <= 0.0295: log within 8.2e-10. */
CSM_INLINE vec log_p(vec z)
{
    vec p = v_fma(v_set(0x1.31e3bap-2f), z, v_set(0x1.995ec4p-2f));   /* 0.29872027, 0.399775565 */
    return v_fma(p, z, v_set(0x1.55557ap-1f));                         /* 0.666667759             */
}

#endif
