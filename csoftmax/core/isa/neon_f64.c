/* The neon kernels for float64. */
#include "../block.h"
#include "target.h"
#ifdef __AARCH64EL__
#define CSM_ISA "neon"
#define CSM_TABLE csm_f64_neon
#include "../math/product.h"
#include "../vec/v128_f64.h"
#include "../math/two_sum.h"
#include "../math/acc_f64.h"
#include "../math/exp_f64.h"
#include "../math/log1p_f64.h"
#include "../math/tanh_f64.h"
#include "../kernels/table.h"
#endif
