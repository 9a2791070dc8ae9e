#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Keeps updatedb out of mounts: adds fuse.mantikfs to PRUNEFS of /etc/updatedb.conf, once. Called by
# the package's postinst and by tools/quickstart when it is root.
conf=${1:-/etc/updatedb.conf}
[ -w "$conf" ] || exit 0
grep -q '^PRUNEFS=.*fuse\.mantikfs' "$conf" ||
	sed -i 's/^\(PRUNEFS *= *"[^"]*\)"/\1 fuse.mantikfs"/' "$conf"
