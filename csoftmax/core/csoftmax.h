/* The C API that the Python binding calls: arrays, operations, status codes. Pure C, without Python. */
#ifndef CSOFTMAX_H
#define CSOFTMAX_H

#include <stddef.h>

/* What an array may hold. Kernels compute in the first two; the others are converted on the way in and out. */
typedef enum {
    CSM_F32, CSM_F64, CSM_F16, CSM_BF16,
    CSM_BOOL, CSM_I8, CSM_U8, CSM_I16, CSM_U16, CSM_I32, CSM_U32, CSM_I64, CSM_U64,
    CSM_DTYPES
} csm_dtype;

typedef enum {
    CSM_SOFTMAX,            /* y = e^(x/T) / sum                                        */
    CSM_LOG_SOFTMAX,        /* y = x/T - log sum e^(x/T)                                */
    CSM_LOGSUMEXP,          /* r = log sum e^x                                          */
    CSM_ENTROPY,            /* r = -sum p log p of p = softmax(x/T), y = its gradient by x */
    CSM_SELECTIVE,          /* r = log p of each label                                  */
    CSM_LOGSUMEXP_B,        /* r = (log abs(s), sign of s) of s = sum g e^x             */
    CSM_CROSS_ENTROPY,      /* r = loss of labels, y = its gradient                     */
    CSM_SOFT_CROSS_ENTROPY, /* r = loss of target probabilities g, y = its gradient     */
    CSM_GRAD_HESS,          /* y, h = gradient and Hessian diagonal of the loss of labels, or of g */
    CSM_JACOBIAN,           /* y = (diag(x) - x x^T)/T                                  */
    CSM_VJP,                /* y = x (g - sum x g)/T                                    */
    CSM_LOG_VJP,            /* y = (g - x sum g)/T                                      */
    CSM_LOG_JVP,            /* y = (g - sum x g)/T                                      */
    CSM_KL,                 /* r = sum p (log p - log q) of p = softmax(x/T), q = softmax(g/T), y = its gradient by g */
    CSM_EXPECTATION,        /* r = sum p v of p = softmax(x/T), v = g or weight, y = its gradient by x */
    CSM_TOP_K,              /* target = the slots classes of the largest logits, r = log p of each */
    CSM_OPS
} csm_op;

typedef enum {
    CSM_OK,
    CSM_NO_MEMORY,
    CSM_INTERRUPTED,        /* poll asked to stop; the result is partly written         */
    CSM_BAD_LABEL,          /* a label outside [0, n); nothing is written               */
    CSM_FRACTION,           /* a label that is not a whole number; nothing is written   */
    CSM_BAD_OPTION          /* an option out of its range; nothing is written           */
} csm_status;

#define CSM_MAX_NDIM 64

/* An array: strides in bytes, one per axis of the call it takes part in. data NULL: absent. */
typedef struct {
    void *data;
    csm_dtype dtype;
    int swapped;            /* in the other byte order */
    const ptrdiff_t *stride;
} csm_array;

typedef enum { CSM_NONE, CSM_SUM, CSM_MEAN } csm_reduction;

typedef enum {
    CSM_DIAGONAL,           /* sum(t) p (1 - p), times sample_weight    */
    CSM_UPPER,              /* twice that                               */
    CSM_FRIEDMAN,           /* n/(n - 1) times that                     */
    CSM_RESIDUAL            /* abs(gradient), times sample_weight       */
} csm_hessian;

/* One call. The class axes come last: shape has ndim + nclass entries, the first ndim are those of the rows.
   x, g, y, h and where have ndim + nclass strides, r and what is given per row ndim; labels, prob and the r of
   CSM_SELECTIVE and CSM_TOP_K have the axis of the slots as well, last, unless slots is 0; that of CSM_LOGSUMEXP_B has
   one of two numbers. Of the Jacobian, y has ndim + 1 axes of rows (the last of length n). What is per row or per class
   is float64, native and aligned. */
typedef struct {
    _Alignas(64) csm_op op; /* clearing a call writes whole lines: others took 12 ns more (Zen 4) */
    csm_dtype dtype;        /* in which to compute: CSM_F32 or CSM_F64 */
    int ndim, nclass;
    const ptrdiff_t *shape;
    csm_array x, g, y, h, r;    /* as in csm_op */
    const ptrdiff_t *offset;    /* not NULL: rows of various lengths. Row i has the classes [offset[i], offset[i + 1])
                                   of x, g and y, which are adjacent, native and aligned numbers of dtype; there is one
                                   axis of rows and one of all classes. Not with where, weight, softcap,
                                   label_smoothing */
    double temperature;     /* positive and finite, as are those per row */
    csm_array temperatures; /* per row, instead of it, 1 then; data NULL: none */
    csm_array where;        /* CSM_BOOL, logits only, both of CSM_KL: a class that is not to take part counts as -inf,
                               or its g as 0, and of label_smoothing it has no share */

    /* losses, in the letters of docs/derivation.md */
    csm_array target;       /* labels; of CSM_TOP_K a result, native ptrdiff_t in C order */
    ptrdiff_t slots;        /* labels per row; 0: one, without an axis for it */
    csm_array prob;         /* the probability of each label; data NULL: 1 */
    int ignores;            /* 0: no label is ignored; 1: ignore_index; 2: ignore_index + 2^64 */
    long long ignore_index;
    csm_array weight;       /* per class, n adjacent numbers; data NULL: 1; the v of CSM_EXPECTATION, instead of g */
    csm_array sample_weight;    /* per row; data NULL: 1 */
    double label_smoothing; /* in [0, 1] */
    double z_loss;          /* finite */
    int has_softcap, has_normalizer;
    double softcap;         /* positive and finite; 0: none */
    csm_reduction reduction;
    double normalizer;      /* finite, not 0 where a row counts: the divisor of the mean; without one, the number of
                               rows or the sum of weights that count */
    double *loss;           /* the reduced loss, rounded to dtype */
    double focal_gamma;     /* finite, not negative; 0: none, as it must be with g, prob, label_smoothing, z_loss */

    csm_hessian hessian;    /* of CSM_GRAD_HESS */
    double hessian_floor;   /* h is raised to it; finite, not negative */

    int (*poll)(void);      /* called between slices of rows, on the calling thread; non-zero stops */

    /* where status is CSM_BAD_LABEL or CSM_FRACTION: the number of the first such label in C order, and it as text */
    ptrdiff_t bad_row;
    char bad_label[32];

    /* where status is CSM_BAD_OPTION: the field, what it must be, its value; bad_row is the row that has it, or -1 */
    const char *bad_option, *range;
    double bad_value;
} csm_call;

csm_status csm_run(csm_call *call);

/* What csm_run does first: checks the options and the labels. The labels go to `label` in C order, -1 for an ignored
   one; they are left alone if that is NULL. */
csm_status csm_check(csm_call *call, ptrdiff_t *label);

/* Threads that a large call would use now: the least of what was set and what was granted, both at least 1, and of the
   CPUs that the calling thread may use; 1 in a forked child. */
int csm_get_num_threads(void);
void csm_set_num_threads(int n);
void csm_grant_threads(int n);          /* by the environment and by quotas of the system */
const char *csm_threading(void);        /* pthreads, windows or none */

/* For tests: so many CPUs, whatever the system says; 0: as it says. */
void csm_assume_cpus(int n);

/* For tests: whether a call leaves the flags of floating-point exceptions that it raised, where the CPU has such. */
void csm_keep_flags(int keep);

/* From now on a forked child computes serially. */
void csm_guard_forks(void);

/* Choose the instruction set: NULL or "" takes the best. Returns 0, or -1 if this CPU or build has no such level. */
int csm_init(const char *isa);
const char *csm_isa(void);
const char *csm_isa_built(int i);       /* the i-th level of this build, best first; NULL past the last */
int csm_isa_runs(int i);                /* whether this CPU can run it */
const char *csm_compiler(void);         /* that built the library */

#endif
