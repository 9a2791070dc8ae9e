/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The options of config.yaml: one table drives parsing, `mantikctl config`, the man page
 * mantik.yaml(5) and its test. /etc/mantik/config.yaml is read first, then <config>/config.yaml.
 */
#ifndef MANTIK_OPTION_H
#define MANTIK_OPTION_H

#include <mantik/mantik.h>

enum mk_option_type {
	MK_OPTION_PATH,	    /* absolute; `~/` and `$NAME` are filled in */
	MK_OPTION_INT,	    /* min … max */
	MK_OPTION_DURATION, /* 3s, 500ms, 2m, 1h, 2d or seconds; min … max in ns */
	MK_OPTION_SIZE,	    /* bytes, or 512M, 10G, 1T; min … max in bytes */
	MK_OPTION_CHOICE,   /* one of `choices` */
	MK_OPTION_TEXT,	    /* one line, taken as it is */
};

struct mk_option {
	const char *name;
	enum mk_option_type type;
	const char *standard; /* the default as one would write it; "" = see help */
	int64_t min, max;
	const char *const *choices; /* NULL-terminated */
	const char *help;	    /* one sentence without a full stop */
};

/* The table, sorted as it is to be shown. */
const struct mk_option *mk_option_table(size_t *ret_n);
const char *mk_option_type_name(enum mk_option_type type); /* "duration" */
/* The range for humans: "0s … 1m", "auto | wal | rollback", "" when there is none. */
void mk_option_range(const struct mk_option *option, struct mk_buf *ret);

/* One line of `mantikctl config`: where is the file and line it comes from, or "default".
 * Directories are those in force, also when nothing sets them. */
typedef int mk_option_emit(void *arg, const struct mk_option *option, const char *value,
			   const char *where);
int mk_option_list(const struct mantik *m, mk_option_emit *emit, void *arg) _must_check_;
/* The same without opening a platform, whose database may be what is wrong. Errors as
 * mantik_open()'s about its configuration. */
int mk_option_look(struct mk_call *call, const struct mantik_options *options, mk_option_emit *emit,
		   void *arg) _must_check_;
/*
 * Sets one option in the user's config.yaml, or takes it out (value NULL). Comments and all other
 * lines stay. Programs that run already keep what they have read. EINVAL the value is not in its
 * range, or the file is wrong or written so that only a person should change it; ENOENT there is
 * no such option, or nothing to take out; EBUSY somebody else is writing it.
 */
int mk_option_write(struct mk_call *call, const struct mantik_options *options, const char *name,
		    const char *value) _must_check_;

#endif
