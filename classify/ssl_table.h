/* One row per algorithm; NAME is defined as `const ft_ssl ft_ssl_NAME` in classify/ssl_NAME.c. */
#define FT_SSL_TABLE(SSL)                                                                                                        \
    SSL(pseudolabel)                                                                                                             \
    SSL(meanteacher)                                                                                                             \
    SSL(fixmatch)                                                                                                                \
    SSL(flexmatch)                                                                                                               \
    SSL(freematch)                                                                                                               \
    SSL(softmatch)                                                                                                               \
    SSL(endora)
