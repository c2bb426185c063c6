/* The avx512 kernels for float64. */
#include "../block.h"
#include "target.h"
#if defined(__x86_64__)
#define CSM_ISA "avx512"
#define CSM_TABLE csm_f64_avx512
TARGET_BEGIN("avx512f,avx512bw,avx512dq,avx512vl,avx512cd,avx2,fma,f16c")
#include "../math/product.h"
#include "../vec/avx512_f64.h"
#include "../math/two_sum.h"
#include "../math/acc_f64.h"
#include "../math/exp_f64.h"
#include "../math/log1p_f64.h"
#include "../math/tanh_f64.h"
#include "../kernels/table.h"
TARGET_END
#endif
