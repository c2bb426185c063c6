/* The scalar kernels for float32. */
#include "../block.h"
#include "target.h"
SMALL_CODE
#define CSM_ISA "scalar"
#define CSM_TABLE csm_f32_scalar
#include "../math/product.h"
#include "../vec/scalar_f32.h"
#include "../math/two_sum.h"
#include "../math/exp_f32.h"
#include "../math/log1p_f32.h"
#include "../math/tanh_f32.h"
#include "../kernels/table.h"
