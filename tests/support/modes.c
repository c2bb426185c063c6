/* The floating-point modes of the calling thread: the control word of x86-64, without the flags of exceptions. */
#include <xmmintrin.h>

void set_modes(unsigned word) { _mm_setcsr(word); }
void clear_flags(void) { _mm_setcsr(_mm_getcsr() & ~_MM_EXCEPT_MASK); }
unsigned flags(void) { return _mm_getcsr() & _MM_EXCEPT_MASK; }
unsigned modes(void) { return _mm_getcsr() & ~_MM_EXCEPT_MASK; }
