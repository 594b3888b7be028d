/* SIGINT and SIGTERM ask the work to save its state and end (status FT_EINTERRUPTED, exit code 130). */
#ifndef FT_INTERRUPT_H
#define FT_INTERRUPT_H

#include <signal.h>

extern volatile sig_atomic_t ft_interrupted; /* set by either once ft_catch_interrupts was called */
void ft_catch_interrupts(void);

#endif
