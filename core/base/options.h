/* SPDX-License-Identifier: Apache-2.0 */
/* The values of the options table, as the configuration files set them. */
#ifndef MK_OPTIONS_H
#define MK_OPTIONS_H

#include <mantik/option.h>

struct mk_options;

struct mk_options *mk_options_new(void); /* defaults */
void mk_options_free(struct mk_options *options);
static inline void mk_options_freep(struct mk_options **options)
{
	mk_options_free(*options);
	*options = NULL;
}
/* Checks and sets one. where: "config.yaml:3", kept. EINVAL with the range; ENOENT unknown. */
int mk_options_set(struct mk_call *call, struct mk_options *options, const char *where,
		   const char *name, const char *value) _must_check_;
/* Reads a configuration file over what is set; one that does not exist is fine. EINVAL with file,
 * line and key. (core/base/config.c) */
int mk_options_read(struct mk_call *call, struct mk_options *options,
		    const char *path) _must_check_;

/* Asking for a name the table does not have is a bug (assert). */
const char *mk_options_text(const struct mk_options *options, const char *name);
const char *mk_options_where(const struct mk_options *options, const char *name);
/* INT, SIZE: the number; DURATION: ns. */
int64_t mk_options_number(const struct mk_options *options, const char *name);

/* "1.5m" … : 0 and ns, or -EINVAL. */
int mk_duration_parse(const char *text, int64_t *ret) _must_check_;
int mk_size_parse(const char *text, int64_t *ret) _must_check_;

#endif
