# The C API of core/csoftmax.h.

cdef extern from "core/csoftmax.h" nogil:
    ctypedef enum csm_dtype:
        CSM_F32, CSM_F64, CSM_F16, CSM_BF16
        CSM_BOOL, CSM_I8, CSM_U8, CSM_I16, CSM_U16, CSM_I32, CSM_U32, CSM_I64, CSM_U64, CSM_DTYPES
    ctypedef enum csm_op:
        CSM_SOFTMAX, CSM_LOG_SOFTMAX, CSM_LOGSUMEXP, CSM_ENTROPY, CSM_SELECTIVE, CSM_LOGSUMEXP_B
        CSM_CROSS_ENTROPY, CSM_SOFT_CROSS_ENTROPY, CSM_GRAD_HESS
        CSM_JACOBIAN, CSM_VJP, CSM_LOG_VJP, CSM_LOG_JVP, CSM_KL, CSM_EXPECTATION, CSM_TOP_K
    ctypedef enum csm_status:
        CSM_OK, CSM_NO_MEMORY, CSM_INTERRUPTED, CSM_BAD_LABEL, CSM_FRACTION, CSM_BAD_OPTION
    ctypedef enum csm_reduction:
        CSM_NONE, CSM_SUM, CSM_MEAN
    ctypedef enum csm_hessian:
        CSM_DIAGONAL, CSM_UPPER, CSM_FRIEDMAN, CSM_RESIDUAL
    ctypedef struct csm_array:
        void *data
        csm_dtype dtype
        int swapped
        const Py_ssize_t *stride
    ctypedef struct csm_call:
        csm_op op
        csm_dtype dtype
        int ndim, nclass
        const Py_ssize_t *shape
        csm_array x, g, y, h, r
        const Py_ssize_t *offset
        double temperature
        csm_array temperatures, where
        csm_array target
        Py_ssize_t slots
        csm_array prob
        int ignores
        long long ignore_index
        csm_array weight, sample_weight
        double label_smoothing, z_loss
        int has_softcap, has_normalizer
        double softcap
        csm_reduction reduction
        double normalizer
        double *loss
        double focal_gamma
        csm_hessian hessian
        double hessian_floor
        int (*poll)() noexcept
        Py_ssize_t bad_row
        char bad_label[32]
        const char *bad_option
        const char *range
        double bad_value
    enum: CSM_MAX_NDIM
    csm_status csm_run(csm_call *call)
    csm_status csm_check(csm_call *call, Py_ssize_t *label)
    void csm_set_num_threads(int n)
    int csm_get_num_threads()
    void csm_keep_flags(int keep)
    void csm_grant_threads(int n)
    const char *csm_threading()
    void csm_assume_cpus(int n)
    void csm_guard_forks()
    int csm_init(const char *isa)
    const char *csm_isa()
    const char *csm_isa_built(int i)
    int csm_isa_runs(int i)
    const char *csm_compiler()
