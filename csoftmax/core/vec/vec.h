/* The vector layer of the instance that is compiled; where a header is compiled alone, without an instance, vectors of
   one lane stand in: float32, or float64 for a header that is of it. */
#ifndef CSM_VEC_H
#define CSM_VEC_H

#ifndef CSM_ISA
#include "../isa/target.h"
#include "../math/product.h"
#ifdef CSM_ALONE_F64
#include "scalar_f64.h"
#include "../math/two_sum.h"
#include "../math/acc_f64.h"
#include "../math/exp_f64.h"
#include "../math/log1p_f64.h"
#include "../math/tanh_f64.h"
#else
#include "scalar_f32.h"
#include "../math/two_sum.h"
#include "../math/exp_f32.h"
#include "../math/log1p_f32.h"
#include "../math/tanh_f32.h"
#endif
#define CSM_ISA "alone"
#define CSM_TABLE csm_alone
#endif

#endif
