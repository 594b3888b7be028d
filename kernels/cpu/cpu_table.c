/* The table of kernels for one instruction set; compiled once per set. */
#include "kernels/cpu/cpu.h"

#define STR2(x) #x
#define STR(x)  STR2(x)

#define PREPARE_PREP(name)   FT_PREPARE(name)
#define PREPARE_NOPREP(name) NULL
#define PREPARE_LIB(name)    ft_prepare_##name

extern const ft_backend FT_JOIN(ft_backend_cpu_, table, FT_ISA);
const ft_backend FT_JOIN(ft_backend_cpu_, table, FT_ISA) = {
    .name = "cpu " STR(FT_ISA),
    .registers = FT_CPU(registers),
    .kernel =
        {
#define OP(name, grad, prep, place, dev) [FT_OP_##name] = FT_KERNEL_##prep(name),
            FT_OP_TABLE(OP)
#undef OP
        },
    .prepare =
        {
#define OP(name, grad, prep, place, dev) [FT_OP_##name] = PREPARE_##prep(name),
            FT_OP_TABLE(OP)
#undef OP
        },
};
