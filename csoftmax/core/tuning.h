/* Every threshold of the core: what it counts, and what it was chosen by. Those that depend on the vector layer are
   macros, and may be used where that is known: in kernels/. */
#ifndef CSM_TUNING_H
#define CSM_TUNING_H

#include <stddef.h>

/* Caches. A cache line in bytes; the bytes of a page, and how many ways a set of the first-level cache has: classes a
   page apart share a set, and each pass would fetch them anew (softmax along axis 0 of (128, 4096) float32 takes 1.0
   instead of 2.1 ns per element where such rows are staged; Zen 5, 2026-11-22). */
enum { CSM_LINE = 64, PAGE = 4096, ALIASED = 16 };

/* Bytes of x, g and y that a tile in the rows layout may take: they stay in the first-level cache between its passes.
   */
enum { TILE_BYTES = 24 * 1024 };

/* Bytes of a row of which the first-level cache holds two and those that are prefetched; bytes of an array, or of a
   row, of which the second-level cache holds three: larger arrays are prefetched, and of longer rows it would lose what
   is to be written (docs/notes/memory.md). */
enum { SHORT_ROW = 16 * 1024, CACHED_ARRAY = 256 * 1024 };

/* Bytes of all arrays of which the last-level cache is likely to hold most: beyond, requests to memory are lost where
   they come too fast (docs/notes/memory.md). */
enum { LAST_CACHE = 20 << 20 };

/* Results of so many bytes are written by non-temporal stores, if at least so many cache lines of them are adjacent; of
   Jacobians, a row has at least so many lines (docs/notes/memory.md). */
enum { STREAM_BYTES = 6 << 20, STREAM_LINES = 4, JACOBIAN_LINES = 6 };

/* Tiles. Row vectors of a full tile; without vectors there is no more than one. Rows of a tile that is transposed. */
#define TILE_VECTORS (V_LANES > 1 ? 4 : 1)
#define TILE_ROWS (TILE_VECTORS * V_LANES)

/* Vectors up to which the only row of a call has kernels of its own (docs/notes/small-calls.md). */
enum { SINGLE_VECTORS = 16 };

/* In the columns layout so many tiles ahead are prefetched: a class of a tile is a cache line, and there are more
   streams of them than the CPU follows by itself. */
enum { TILES_AHEAD = 16 };

/* Classes up to which rows are transposed, and up to which they are if there are many rows, of which the last, fewer
   than a full tile, take longer (docs/notes/tiles.md). */
enum { FEW_CLASSES = 48 };
#define MORE_CLASSES (V_LANES == 16 ? 88 : V_LANES == 8 ? 60 : 48)

/* Classes up to which rows without gaps are transposed by permutations of whole vectors, where there are such: of four
   lanes four classes are a square, which is faster. */
#ifdef V_CHOICE
#define MOST_PACKED (V_LANES > 4 ? 4 : 3)
#else
#define MOST_PACKED 1
#endif

/* Classes up to which rows that are lanes are compared with their labels: reading and writing single numbers of
   vectors, which waits for the stores before, takes longer (docs/notes/tiles.md). */
enum { FEW_LABELS = 32 };

/* Products of rows of few classes: up to which they are transposed, go together without that, and go together in one
   vector each (docs/notes/products.md). */
enum { TRANSPOSED_PRODUCT = 16 };
#define FEW_PRODUCT (2 * V_LANES < 16 ? 2 * V_LANES : 16)
#define PACKED_PRODUCT (V_LANES / 2 - 1 < MOST_PACKED ? V_LANES / 2 - 1 : MOST_PACKED)

/* Classes up to which V_LANES Jacobians are computed at a time (docs/notes/products.md). */
enum { FEW_SQUARE = 4 };

/* Long rows. Vectors of a segment: a row is summed by segments, however many threads walk through them, so that its
   bits stay the same. Doubles that a thread, or a segment, exchanges. */
enum { CSM_SEGMENT = 4096, CSM_EXCHANGE = 128 };

/* Staging. Bytes of scratch that a thread stages rows in: they stay in the first-level cache, unless one row is more.
   Rows that lie side by side are staged in groups unless a group of a few takes more than MOST_STAGE_BYTES. A class of
   a row takes at most MOST_CLASS_BYTES of scratch: four arrays, twice x for Jacobians, slopes, and its mask. */
enum { STAGE_BYTES = 32 * 1024, MOST_STAGE_BYTES = 4 << 20, MOST_CLASS_BYTES = 64 };

/* Adjacent bytes of rows side by side that make staging them in groups worth it. */
enum { LEAST_BESIDE = 16 };

/* A matrix in the other memory order is transposed by blocks of so many lines and numbers; bytes between lines that are
   written from which on those of the next block are fetched (docs/notes/staging.md). */
enum { BLOCK_LINES = 64, BLOCK_COUNT = 16, FAR_LINES = 1024 };

/* Numbers that are gathered, converted or checked at a time; bytes ahead that are prefetched while numbers move. */
enum { CONVERTED_AT_ONCE = 128, MOVE_AHEAD = 1024 };

/* Numbers per turn of a loop that the compiler makes vectors of: a constant, for gcc's -O2 does so with no other. */
enum { UNROLLED = 16, HIDDEN_AT_ONCE = 64, LABELS_AT_ONCE = 16 };

/* float32 classes up to which a row is taken in the columns layout: a lane counts the logits that equal the largest one
   by one, and 2^24 + 1 is no float32. In the rows layout they are counted by segments. */
#define MOST_COLUMN_CLASSES ((ptrdiff_t)1 << 24)

/* Numbers up to which one row, or its Jacobian, is computed without a plan. */
enum { ONE_ROW = 4096 };

/* Numbers that the mean adds in one block, by eight strided sums. */
enum { SUM_BLOCK = 64 };

/* Threads. Rows are taken by ROW_GRAIN, so that no two threads write to one cache line where rows are adjacent. A
   slice, after which signals are looked for, has some 20 ms of work for one core. Threads take a slice by chunks, so
   many for each if none has fewer elements: who comes late, or has a slow core, then takes fewer of them. */
enum { ROW_GRAIN = 64, CHUNKS_PER_THREAD = 8, CHUNK_ELEMENTS = 8192 };
#define SLICE_ELEMENTS ((ptrdiff_t)1 << 24)

/* What a row, and each label of it, takes besides the row's numbers, in numbers; and what a thread must get, in float32
   numbers of long rows: 15 us of work. */
enum { ROW_WORK = 8, CSM_WORK_PER_THREAD = 75000 };

/* Calls of sched_yield, half a microsecond each where nobody else wants the core: until a worker sleeps, which then
   takes 60 us to come, or milliseconds if the system gives it the caller's core; and until the threads that share a row
   begin with those that are there (docs/notes/threads.md). */
enum { SPIN_YIELDS = 2000, JOIN_YIELDS = 200 };

/* Bytes of a worker's stack, of which tiles that are transposed take 68 KB. The system's own choice varies: 8 MB by
   glibc, 512 KB by macOS, 128 KB by musl. */
enum { CSM_WORKER_STACK = 512 * 1024 };

#endif
