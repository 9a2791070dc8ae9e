/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The versions of the schema as a table: migrations/00N.sql, embedded by embed.py. A program with
 * another table (tests of what is to come) links its own instead of migrations/table.c.
 */
#ifndef MK_MIGRATIONS_H
#define MK_MIGRATIONS_H

struct mk_migration {
	int version; /* from 1, without gaps; 0 ends the table */
	const char *sql;
};
extern const struct mk_migration mk_migrations[];

extern const char mk_schema_001[], mk_schema_002[];

#endif
