/* A plugin of nothing of its own: the archive is linked in whole. */
extern const int ft_shim_plugin;
const int ft_shim_plugin = 1;
