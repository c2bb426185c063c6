/* Non-temporal stores: how two rows meet in a cache line. */
#ifndef CSM_STREAM_H
#define CSM_STREAM_H

#include "tile.h"

/* The vector in which a row ends and the next begins is assembled in a buffer and stored once: a cache line that is
   written in parts is read before (docs/notes/memory.md). */
typedef struct {
    elem part[V_LANES];
    ptrdiff_t held;         /* entries of the first row; 0: there is no seam */
} seam;

/* Where the entries of a row go that come before its first aligned vector. */
CSM_INLINE elem *before_row(seam *o, elem *y) { return o->held ? o->part + o->held : y; }

/* Writes the seam before the row at y, once both rows are in it. */
CSM_INLINE void write_seam(const seam *o, elem *y)
{
    if (o->held)
        v_stream(y - o->held, v_load(o->part));
}

/* Where the last `left` entries of a row go: to y, or into the seam if another row `follows`. */
CSM_INLINE elem *after_row(seam *o, elem *y, ptrdiff_t left, int follows)
{
    o->held = follows ? left : 0;
    return o->held ? o->part : y;
}

#endif
