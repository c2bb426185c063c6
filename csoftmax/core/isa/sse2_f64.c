/* The sse2 kernels for float64. */
#include "../block.h"
#include "target.h"
#if defined(__x86_64__) && defined(CSM_SSE2)
#define CSM_ISA "sse2"
#define CSM_TABLE csm_f64_sse2
#include "../math/product.h"
#include "../vec/v128_f64.h"
#include "../math/two_sum.h"
#include "../math/acc_f64.h"
#include "../math/exp_f64.h"
#include "../math/log1p_f64.h"
#include "../math/tanh_f64.h"
#include "../kernels/table.h"
#endif
