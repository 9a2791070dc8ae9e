/* SPDX-License-Identifier: Apache-2.0 */
/* The values of the options table, as the configuration files set them. */
#ifndef MK_OPTIONS_H
#define MK_OPTIONS_H

#include <mantik/option.h>

struct mk_doc;
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
/* As if it had never been set. */
void mk_options_unset(struct mk_options *options, const char *name);
/* Whether an option could be set so; value NULL: whether there is such an option. */
int mk_options_check(struct mk_call *call, const char *where, const char *name,
		     const char *value) _must_check_;
/* Reads a configuration file over what is set; one that does not exist is fine. EINVAL with file,
 * line and key. (core/base/config.c) */
int mk_options_read(struct mk_call *call, struct mk_options *options,
		    const char *path) _must_check_;

/* The steps of it: the text of the file (1, or 0 when there is none), and what it says. */
int mk_options_file(struct mk_call *call, const char *path, struct mk_buf *ret) _must_check_;
int mk_options_take(struct mk_call *call, struct mk_options *options, const char *path,
		    struct mk_doc *doc) _must_check_;
/*
 * Sets one option in a configuration file, or takes it out (value NULL); comments and all other
 * lines stay to the letter, the file is replaced at once (a link to it stays a link). EINVAL with
 * the range, or when the file itself is wrong or writes the option in a way only a person should
 * change; ENOENT unknown, or nothing to take out; EBUSY. (core/base/config_write.c)
 */
int mk_options_write(struct mk_call *call, const char *path, const char *name,
		     const char *value) _must_check_;

/* Asking for a name the table does not have is a bug (assert). */
const char *mk_options_text(const struct mk_options *options, const char *name);
const char *mk_options_where(const struct mk_options *options, const char *name);
/* INT, SIZE: the number; DURATION: ns. */
int64_t mk_options_number(const struct mk_options *options, const char *name);

#endif
