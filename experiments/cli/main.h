/* The program as a function, so that tests and the fuzzers can call it. Returns the exit code. */
#ifndef FT_MAIN_H
#define FT_MAIN_H

int ft_main(int argc, char **argv);

#endif
