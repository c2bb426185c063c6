/* The contract between csoftmax.c, which cuts arrays into blocks, and the instances under isa/, which compute
   them: what a block is, which operations there are, what an instance exports. Includes csoftmax.h.

   A block has one class axis and one row axis, and every array of it one stride, in elements:

     CSM_ALONG   the classes of a row are adjacent; strides lead from row to row
     CSM_ACROSS  rows are adjacent (axis 0 of a C array); strides lead from class to class

   x and y may be the same memory, element for element; other overlap is the caller's error. */
#ifndef CSM_KERNELS_H
#define CSM_KERNELS_H

#include "csoftmax.h"

typedef struct {
    ptrdiff_t rows, n;          /* rows and classes of the block                                           */
    ptrdiff_t all_rows;         /* of the call: what chooses a way to compute must not depend on the cut   */
    const void *x;              /* logits; probabilities in derivatives                                    */
    const void *g;              /* soft targets; what a derivative is multiplied with                      */
    void *y;                    /* result; NULL: only r is wanted                                          */
    ptrdiff_t xs, gs, ys;       /* their strides                                                           */
    void *r;                    /* one number per row, adjacent: logsumexp, loss                           */
    const ptrdiff_t *label;     /* checked: in [0, n), or -1 for a row to ignore                           */
    ptrdiff_t first;            /* Jacobian: rows are those of one after another, from its row first on;
                                   x moves by xs after each n                                              */
    double temperature;
    double scale;               /* of the loss gradient: 1 / (temperature * divisor)                       */
} csm_block;

typedef void csm_kernel(const csm_block *);

enum { CSM_ALONG, CSM_ACROSS, CSM_LAYOUTS };

typedef struct {
    const char *isa;
    ptrdiff_t lanes;
    csm_kernel *kernel[CSM_OPS][CSM_LAYOUTS];   /* NULL: the operation has no such kernel, stage the rows */
} csm_table;

/* The instance for a dtype on the instruction set chosen at import. */
const csm_table *csm_table_of(csm_dtype dtype);

#endif
