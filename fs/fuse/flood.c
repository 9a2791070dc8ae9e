/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `rm -rf projects/` is refused a hundred thousand times, and .mantik/errors keeps a thousand lines:
 * of the removals that one process is refused, the first FLOOD_SHOWN are recorded, the last of them
 * says that there were more. Any other process, and any other sort of error, is not affected.
 */
#include "op.h"

#include <errno.h>
#include <string.h>

enum { FLOOD_SHOWN = 16, FLOOD_S = 30 };

enum flood flood_look(struct mount *mount, const struct op *op, int error)
{
	int64_t now = mk_now_mono();
	struct flood_of *of = NULL;
	int n;

	if ((op->verb->count != FS_OP_UNLINK && op->verb->count != FS_OP_RMDIR) ||
	    (error != EPERM && error != ENOTEMPTY && error != EROFS))
		return FLOOD_SHOW;
	pthread_mutex_lock(&mount->files_lock);
	for (size_t i = 0; i < FLOODS && !of; i++)
		if (mount->floods[i].pid == op->call.pid && mount->floods[i].until > now)
			of = &mount->floods[i];
	if (!of) {
		of = &mount->floods[mount->next_flood++ % FLOODS];
		*of = (struct flood_of){.pid = op->call.pid};
	}
	of->until = now + FLOOD_S * MK_SEC;
	n = ++of->n;
	if (n > FLOOD_SHOWN)
		of->n = n = FLOOD_SHOWN + 1;
	pthread_mutex_unlock(&mount->files_lock);
	return n < FLOOD_SHOWN ? FLOOD_SHOW : n == FLOOD_SHOWN ? FLOOD_LAST : FLOOD_HIDE;
}
