/* SPDX-License-Identifier: Apache-2.0 */
/* See tracking.h. */
#include "connect/tracking/tracking.h"

#include <string.h>

enum mk_status mk_t_status(const char *text)
{
	static const struct {
		const char *name, *number;
		enum mk_status status;
	} table[] = {
		{"RUNNING", "1", MK_RUNNING},	{"SCHEDULED", "2", MK_SCHEDULED},
		{"FINISHED", "3", MK_FINISHED}, {"FAILED", "4", MK_FAILED},
		{"KILLED", "5", MK_KILLED},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(*table); i++)
		if (strcmp(text, table[i].name) == 0 || strcmp(text, table[i].number) == 0)
			return table[i].status;
	return MK_UNKNOWN;
}
