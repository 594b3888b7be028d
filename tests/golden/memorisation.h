/* by make_golden_memorisation.py: NumPy */
/* tau; shares of made and held-out clips above it, and that pass the ratio test; coverage; medians */
static const double golden_copies[] = {0.9065676207867694, 0.6, 0.125, 0.3, 0, 1, 0.9241062950518515, 0.8773734836249443};
/* nearest training clip, correlation, ratio of each made clip */
static const double golden_recall[][3] = {
    {0, 1, 0},
    {5, 0.9976570291297012, 0.1838307081593875},
    {10, 0.9851780136397996, 0.298744730394252},
    {3, 0.9602919690668855, 0.4508578181496923},
    {8, 0.9392894656638167, 0.6198730351401586},
    {1, 0.8946888305851031, 0.6697508487808337},
    {6, 0.8675548760377312, 0.9398358770061114},
    {10, 0.9089231244398862, 0.847619333216275},
    {5, 0.8468564555862819, 0.9731079548342987},
    {7, 0.9059805058758854, 0.8386430684494751},
};
/* k, precision, recall, density, coverage of the made clips against the training clips */
static const double golden_prdc[][5] = {
    {1, 0.6, 0.9166666666666666, 0.7, 0.4166666666666667},
    {3, 0.7, 1, 0.7333333333333334, 1},
    {5, 0.7, 1, 0.72, 1},
};
/* MMD of the made clips and the training clips, each its own video; of four videos; mean of the kernel between them */
static const double golden_mmd[] = {3.657224995812456, 3.566408399271609, 38.9970065179194};
