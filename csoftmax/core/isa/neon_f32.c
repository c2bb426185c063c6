/* The neon kernels for float32. */
#include "../block.h"
#include "target.h"
#ifdef __AARCH64EL__
#define CSM_ISA "neon"
#define CSM_TABLE csm_f32_neon
#include "../math/product.h"
#include "../vec/v128_f32.h"
#include "../math/two_sum.h"
#include "../math/exp_f32.h"
#include "../math/log1p_f32.h"
#include "../math/tanh_f32.h"
#include "../kernels/table.h"
#endif
