#include "common/base/plugin.h"

#include <dlfcn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void ft_plugin_path(char *path, size_t size, const char *file)
{
    char program[4096];
    ssize_t n = readlink("/proc/self/exe", program, sizeof program - 1);
    program[n > 0 ? n : 0] = 0;
    char *slash = strrchr(program, '/');
    snprintf(path, size, "%.*s%s", slash ? (int)(slash + 1 - program) : 0, program, file);
}

void *ft_plugin_symbol(const char *path, bool global, const char *symbol)
{
    void *library = dlopen(path, RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL));
    return library ? dlsym(library, symbol) : NULL;
}
