/* Who works in a folder: one process at a time, on one machine or on many that share a file system.
 *
 * A lease is the file FOLDER/.lease, made by link(2), which local and network file systems do atomically. It names its owner; the
 * owner touches it every FT_HEARTBEAT seconds. It is void when its owner is a process of this machine that is gone (at once), or
 * when another machine has not touched it for FT_LEASE_STALE seconds by the file server's clock. A void lease is replaced by one
 * process only: the one that holds the lease on replacing it.
 *
 * An owner that slept through this must not write any more. Its files under FOLDER are therefore completed through the folder
 * FOLDER/.hold-NONCE of its own (ft_fence, files.h), which whoever replaces its lease moves away first: from then on every rename
 * of the old owner fails, without a moment between a look and a write. ft_leases_kept tells the same early, so that it stops. */
#ifndef FT_LEASE_H
#define FT_LEASE_H

#include <stdbool.h>

enum { FT_HEARTBEAT = 10, FT_LEASE_STALE = 60 };

typedef struct ft_lease ft_lease;

/* Makes the folder (ft_folder_make: one of somebody else's is refused) and takes it. FT_EBUSY (naming the owner) when another
 * process has it, or this one; `wait`: when it is free again, or FT_EINTERRUPTED. */
int ft_lease_take(const char *folder, bool wait, ft_lease **lease);
bool ft_lease_kept(const ft_lease *lease); /* false: the folder is gone, or somebody took it for dead */
bool ft_leases_kept(void);                 /* of all that this process holds; looks once in a second */
void ft_lease_drop(ft_lease *lease);       /* NULL is allowed */

/* The living owner of a folder, "HOST, process PID". False: nobody works there. */
bool ft_lease_owner(const char *folder, char owner[200]);

/* Takes the folder until the process ends, however it ends. FT_EBUSY. */
int ft_hold_folder(const char *path);

#endif
