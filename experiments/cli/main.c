#include "experiments/cli/main.h"

#include "common/base/threads.h"

int main(int argc, char **argv)
{
    ft_threads_reexec(argv);
    return ft_main(argc, argv);
}
