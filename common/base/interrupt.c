#include "common/base/interrupt.h"

#include <stddef.h>

volatile sig_atomic_t ft_interrupted;
static void on_signal(int sig) { (void)sig, ft_interrupted = 1; }

void ft_catch_interrupts(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}
