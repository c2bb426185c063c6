/* The sse2 kernels for float32. */
#include "../block.h"
#include "target.h"
#if defined(__x86_64__) && defined(CSM_SSE2)
#define CSM_ISA "sse2"
#define CSM_TABLE csm_f32_sse2
#include "../math/product.h"
#include "../vec/v128_f32.h"
#include "../math/two_sum.h"
#include "../math/exp_f32.h"
#include "../math/log1p_f32.h"
#include "../math/tanh_f32.h"
#include "../kernels/table.h"
#endif
