#include "common/base/interrupt.h"

#include <stddef.h>
#include <unistd.h>

#include "common/base/files.h"

volatile sig_atomic_t ft_interrupted;
static volatile sig_atomic_t looked_at; /* how many stretches of work look at it */

static void on_signal(int sig)
{
    static const char text[] = "\nforty: interrupted; what is done is kept\n";
    static volatile sig_atomic_t asked; /* Ctrl-C; a parent passes its own end on by SIGTERM, which says nothing new */
    if (!looked_at || (sig == SIGINT && asked)) {
        ssize_t put = write(2, text, sizeof text - 1);
        (void)put;
        ft_atomic_abandon();
        _exit(130);
    }
    asked |= sig == SIGINT;
    ft_interrupted = 1;
}

void ft_catch_interrupts(void)
{
    struct sigaction a = {.sa_handler = on_signal};
    sigaction(SIGINT, &a, NULL);
    sigaction(SIGTERM, &a, NULL);
}

void ft_interruptible(bool begins)
{
    if (begins) looked_at++;
    else looked_at--;
}
