/* Compiles the rest of a file for one instruction set: TARGET_BEGIN("avx2,fma") ... TARGET_END.
   The only includer of <immintrin.h>, <arm_neon.h>, <math.h> and <string.h> in the core: a system header that is first
   read inside the pragmas would be compiled for the wrong target. */
#ifndef CSM_TARGET_H
#define CSM_TARGET_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) || defined(__i386__)
#include <immintrin.h>
#elif defined(__AARCH64EL__)
#include <arm_neon.h>
#endif

/* Rounding to integers by adding large numbers, and sums as hi + lo, are right where each operation rounds to its own
   type and none is left out. Otherwise results would be wrong, and nothing would say so. */
#if FLT_EVAL_METHOD != 0
#error "csoftmax: float and double must be computed as such: compile for SSE2 (-msse2 -mfpmath=sse), not for x87"
#endif
#if defined(__FAST_MATH__) || defined(__ASSOCIATIVE_MATH__) || defined(__RECIPROCAL_MATH__) || __FINITE_MATH_ONLY__
#error "csoftmax: compile without -ffast-math, -Ofast and their parts: they change results"
#endif

#define CSM_INLINE static inline __attribute__((always_inline, unused))
#define CSM_SHARED __attribute__((noinline))    /* code of which one copy is enough */

#define CSM_PRAGMA(text) _Pragma(#text)

/* Up to version 11 a pragma `optimize` of gcc takes these flags of setup.py back, and what was declared before it, as
   the intrinsics are, can then not be inlined behind it. */
#define OPTIMIZE(...) CSM_PRAGMA(GCC optimize(__VA_ARGS__, "no-math-errno", "no-trapping-math"))

/* For the scalar kernels on x86, which only CPUs without AVX2 run there: a quarter less code, as fast but for Jacobians
   (docs/notes/compiler.md). What is chosen by a condition is computed after it, so that numbers below the normal range
   are kept away from arithmetic. */
#if defined(__x86_64__) && !defined(__clang__)
#define SMALL_CODE CSM_PRAGMA(GCC optimize("Os", "no-math-errno", "trapping-math"))
#else
#define SMALL_CODE
#endif

/* The loops fill the registers by themselves: constants that gcc brings there ahead of them, and what it keeps there to
   compute nothing twice, it spills (docs/notes/compiler.md). */
#define FEW_REGISTERS OPTIMIZE("no-gcse", "no-move-loop-invariants")

/* A condition that seldom holds: what depends on it is kept out of the way. */
#define RARELY(condition) __builtin_expect(!!(condition), 0)

/* A loop over side-by-side vectors, always unrolled: `count` is a constant of at most 4. */
#define EACH(u, count) _Pragma("GCC unroll 4") for (int u = 0; u < (count); u++)

#if defined(__clang__)
#define TARGET_BEGIN(isa) CSM_PRAGMA(clang attribute push(__attribute__((target(isa))), apply_to = function))
#define TARGET_END _Pragma("clang attribute pop")
#else
#define TARGET_BEGIN(isa) _Pragma("GCC push_options") FEW_REGISTERS CSM_PRAGMA(GCC target(isa))
#define TARGET_END _Pragma("GCC pop_options")
#endif

#endif
