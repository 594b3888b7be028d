/* SIGINT and SIGTERM. Work that can save its state says ft_interruptible(true) before it and (false) after it, and looks at
 * ft_interrupted meanwhile: it then ends with status FT_EINTERRUPTED, exit code 130. At any other time, and at the second SIGINT,
 * the process ends at once with that code: what is complete is kept, and what is not has no final name (files.h). */
#ifndef FT_INTERRUPT_H
#define FT_INTERRUPT_H

#include <signal.h>
#include <stdbool.h>

extern volatile sig_atomic_t ft_interrupted; /* set by either once ft_catch_interrupts was called */
void ft_catch_interrupts(void);
void ft_interruptible(bool begins); /* nests */

#endif
