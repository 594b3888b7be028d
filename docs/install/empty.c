/* A shared library needs a file of its own: all of libforty comes from the static ones. */
typedef int ft_nothing;
