/* Every generator family: its file ends in `const ft_generator ft_generator_NAME`. */
#ifndef FT_GENERATOR_TABLE_H
#define FT_GENERATOR_TABLE_H
#define FT_GENERATORS(GENERATOR)                                                                                                 \
    GENERATOR(medsora) GENERATOR(endora) GENERATOR(feat) GENERATOR(lvdm) GENERATOR(forty) GENERATOR(styleganv) GENERATOR(mostganv)
#endif
