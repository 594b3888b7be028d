/* A child process for a library that may crash, loop or ask for gigabytes on a stranger's file. It is forked from a program with
 * threads, so it touches no handler, lock or unwritten file of its parent's: it reads, writes to one pipe, and ends by _exit. */
#ifndef FT_APART_H
#define FT_APART_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* In the child, first of all: signals end it, it dies with its parent, and says nothing on the terminal. */
void ft_apart_begin(void);
void ft_apart_seconds(unsigned seconds); /* of computing, from its start */
void ft_apart_memory(uint64_t more);     /* beside what it has now and some that a library needs itself */
bool ft_apart_write(int fd, const void *data, size_t size);

/* In the parent: `size` bytes from the child, waiting `seconds` at most. FT_EINTERRUPTED, FT_EBUSY: it took longer, FT_EIO: it
 * ended before; none of them with a message. */
int ft_apart_read(int fd, void *data, size_t size, unsigned seconds);
int ft_apart_end(pid_t pid, bool kill_it); /* its status, as of waitpid */

#endif
