#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Keeps updatedb out of mounts: adds fuse.mantikfs to PRUNEFS of /etc/updatedb.conf, once; with
# --remove takes it out again. Called by the package's postinst and postrm and by tools/quickstart.
remove=''
[ "${1:-}" != --remove ] || { remove=yes; shift; }
conf=${1:-/etc/updatedb.conf}
[ -w "$conf" ] || exit 0
if [ -n "$remove" ]; then
	sed -i 's/^\(PRUNEFS *=.*\) fuse\.mantikfs/\1/' "$conf"
elif ! grep -q '^PRUNEFS *=.*fuse\.mantikfs' "$conf"; then
	sed -i 's/^\(PRUNEFS *= *"[^"]*\)"/\1 fuse.mantikfs"/' "$conf"
fi
