/* What jemalloc, which is written in C, asks of the C++ library for its `operator new`: what to do when memory is at an
 * end. A program in C never calls that; one that does is linked to more than this, and then the stock library stays. */
#include <stdlib.h>

void _ZSt17__throw_bad_allocv(void) { abort(); }
void _ZSt20__throw_system_errori(int error) { (void)error; abort(); }
void *_ZSt15set_new_handlerPFvvE(void *handler) { (void)handler; return NULL; } /* there was none */
void *__cxa_begin_catch(void *exception) { return exception; }
void __cxa_end_catch(void) {}
const void *const _ZTISt9bad_alloc[2];

/* Unwinding, as for a thread that is cancelled, goes on: _URC_CONTINUE_UNWIND. */
int __gxx_personality_v0(void) { return 8; }
