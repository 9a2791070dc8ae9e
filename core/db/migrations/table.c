/* SPDX-License-Identifier: Apache-2.0 */
/* Alone in its file: see migrations.h. */
#include "db/migrations.h"

const struct mk_migration mk_migrations[] = {
	{1, mk_schema_001},
	{2, mk_schema_002},
	{},
};
