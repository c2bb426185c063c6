/* The scalar kernels for float64. */
#include "../block.h"
#include "target.h"
SMALL_CODE
#define CSM_ISA "scalar"
#define CSM_TABLE csm_f64_scalar
#include "../math/product.h"
#include "../vec/scalar_f64.h"
#include "../math/two_sum.h"
#include "../math/acc_f64.h"
#include "../math/exp_f64.h"
#include "../math/log1p_f64.h"
#include "../math/tanh_f64.h"
#include "../kernels/table.h"
