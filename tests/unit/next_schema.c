/* SPDX-License-Identifier: Apache-2.0 */
/* The table of migrations of a program that does not exist yet, in place of migrations/table.c. */
#include "db/migrations.h"

const struct mk_migration mk_migrations[] = {
	{1, mk_schema_001},
	{2, mk_schema_002},
	{3, "ALTER TABLE runs ADD COLUMN stars INTEGER NOT NULL DEFAULT 0;"},
	{},
};
