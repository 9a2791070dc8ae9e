/* SPDX-License-Identifier: Apache-2.0 */
/* schema.sql, embedded by embed.py. */
#ifndef MK_SCHEMA_H
#define MK_SCHEMA_H

extern const char mk_schema_sql[];

#endif
