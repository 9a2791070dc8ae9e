/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mantikctl: one command per file (cmd_*.c), each a `const struct cmd` whose tables drive parsing,
 * --help, the shells' completions and the COMMANDS section of mantikctl(1). To add a command: write
 * its file, name it in mantikctl.c's list, in meson.build and in packaging/NEWS.md.
 *
 * A command runs in the main thread with a call that may wait for anything; a thread of signals
 * turns the first INT, TERM or HUP into mk_call_cancel(), the second ends the program.
 */
#ifndef CTL_H
#define CTL_H

#include <mantik/mantik.h>

struct ctl;

struct cmd_option {
	char letter;	   /* 0: only the long name */
	const char *name;  /* without dashes; NULL ends a table */
	const char *value; /* what it takes (K=V), NULL: nothing */
	const char *help;
};

/* How much of the platform a command needs open. */
enum ctl_needs {
	CTL_NOTHING,
	CTL_READ,  /* falls back to reading only when the database cannot be written */
	CTL_WRITE,
};

struct cmd {
	const char *name;
	const char *operands; /* as in the synopsis: "RUN ..." */
	int min, max;	      /* operands; max -1: any number */
	enum ctl_needs needs;
	const char *help;     /* one line, no full stop */
	const char *more;     /* paragraphs for --help and the manual, parted by \n; may be NULL */
	const struct cmd_option *options;
	/* An exit status, or a negative errno with its text in ctl->call. */
	int (*run)(struct ctl *ctl);
};

/* Exit statuses: the table in mantikctl_help.c describes them. */
enum {
	CTL_OK = 0,
	CTL_FAILED = 1,
	CTL_USAGE = 2,
	CTL_NOT_FOUND = 3,
	CTL_INVALID = 4,
	CTL_REMOTE = 5,
	CTL_REFUSED = 6,
	CTL_RUN_FAILED = 10,
	CTL_RUN_KILLED = 11,
	CTL_RUN_UNKNOWN = 12,
	CTL_TIMEOUT = 124,
	CTL_INTERRUPTED = 130,
};

struct ctl_given {
	const struct cmd_option *option;
	const char *value; /* "" for a flag */
};

struct fs_tree;

struct ctl {
	struct mk_call call;
	struct mantik *m;     /* NULL when the command needs nothing */
	struct fs_tree *tree; /* made by ctl_tree() */
	const struct cmd *cmd;
	struct mantik_options options;
	struct ctl_given *given;
	size_t n_given;
	char **operands;
	int n_operands;
	struct mk_list numbers; /* of ctl_parse() */
};

extern const struct cmd *const ctl_commands[]; /* ends with NULL */
extern const struct cmd_option ctl_global_options[];
#define CTL_NO_OPTIONS ((const struct cmd_option[]){{}})

/* --- mantikctl_args.c --- */

/* Parses argv[1…] by a table: 0, or CTL_USAGE after saying what is wrong. Operands and values point
 * into argv. `first_only`: stops at the first operand (the command's name). */
int ctl_parse(struct ctl *ctl, const char *prog, const struct cmd_option *table, int argc,
	      char **argv, bool first_only);
/* The last value of an option, "" for a flag that was given, NULL when it was not. */
const char *ctl_option(const struct ctl *ctl, const char *name);
/* The i-th value of an option that may be given several times, or NULL. */
const char *ctl_option_nth(const struct ctl *ctl, const char *name, size_t i);
/* Says what is wrong with the command line; gives CTL_USAGE. */
int ctl_usage(const struct ctl *ctl, const char *fmt, ...) _printf_(2, 3);

/* --- mantikctl_help.c --- */

void ctl_help(void);
void ctl_help_command(const struct cmd *cmd);
/* bash, zsh, fish: a completion script; mdoc, options: sections of the manual; table: one line an
 * option, for tests. CTL_USAGE for another word. */
int ctl_generate(const char *what);
/* The exit status for an errno (positive). */
int ctl_status_of(int code);

/* --- mantikctl_complete.c: completions of shells, to stdout --- */

void ctl_complete_bash(void);
void ctl_complete_zsh(void);
void ctl_complete_fish(void);

/* --- mantikctl_say.c: what more than one command prints or asks --- */

/* Adds text as a JSON string with its quotes. */
void ctl_json_text(struct mk_buf *buf, const char *text);
/* The call's error as `mantikctl: …` on stderr, with the remote's words; r: what was returned. */
void ctl_complain(struct ctl *ctl, int r);
/* True when yes was answered on the terminal, or there is no terminal, or --yes was given. */
bool ctl_confirm(const struct ctl *ctl, const char *fmt, ...) _printf_(2, 3);
/* All of the text to stdout; a closed pipe or full disk is an error. */
int ctl_print(struct ctl *ctl, const char *text, size_t len) _must_check_;
/* Waits until the database may have changed, at most ms; EINTR when interrupted. */
int ctl_wait_change(struct ctl *ctl, uint64_t *generation, int ms) _must_check_;
/* Adds all there is to read up to the buffer's limit; name is for the error. */
int ctl_read_fd(struct ctl *ctl, const char *name, int fd, struct mk_buf *ret) _must_check_;
/* Starts a program with our standard files and waits: its exit status, or a negative errno. */
int ctl_spawn(struct ctl *ctl, const char *const *argv) _must_check_;
/* Path of a program of ours: beside this one, else by PATH. Never NULL; owned by the caller. */
char *ctl_program(const char *name);

/* --- mantikctl_secret.c: what is typed and not shown --- */

/* Appends a line typed on the terminal (or, when standard input is none, its first line), without
 * its end. EINTR; ENOTTY: there is nobody to ask. */
int ctl_ask_secret(struct ctl *ctl, const char *prompt, struct mk_buf *ret) _must_check_;
/* For mk_connection_asker(); arg: the ctl. Asks on the terminal only. */
int ctl_ask_passphrase(struct mk_call *call, void *arg, bool fresh, struct mk_buf *ret);

/* --- mantikctl_mount.c: paths as texts, and the mounts of this machine --- */

/* Absolute, without `.`, `..`, double and trailing slashes. */
char *ctl_absolute(const char *path);
/* What follows `top` in path ("/" for top itself), or NULL when path is not below it. */
const char *ctl_below(const char *path, const char *top);
/* What follows the innermost mantikfs mount point in an absolute path, or NULL. */
const char *ctl_below_a_mount(const char *path);
/* The mount point that is meant: the first operand, else ~/mantik; absolute, without links. */
int ctl_mount_point(struct ctl *ctl, char **ret) _must_check_;

/* --- mantikctl_path.c: what the words of a command line name --- */

/* The path in the tree that an operand names: below a mantikfs mount (also ~/mantik while it is
 * not mounted), or written as it is in the tree (`/projects/…`). NULL: a local file. */
char *ctl_tree_path(const char *operand);
/* The same where only a path of the tree makes sense: any other absolute path is one of the tree.
 * EINVAL else. */
int ctl_need_tree_path(struct ctl *ctl, const char *operand, char **ret) _must_check_;
/* A run by path or by any name it has (mk_run_resolve); `latest` is the newest of this user. */
int ctl_run(struct ctl *ctl, const char *operand, int64_t *ret_id) _must_check_;
/* The project a tree path lies in and, in *path, what follows it: 1, or 0 when it is in none. */
int ctl_project_of(struct ctl *ctl, const char **path, int64_t *ret_id) _must_check_;
/* By its name, or its entry in projects/; deleted: one that is deleted. ENOENT. */
int ctl_project_named(struct ctl *ctl, const char *entry, bool deleted,
		      int64_t *ret_id) _must_check_;
/* An error's text begins with the operand it is about; gives r. */
int ctl_named(struct ctl *ctl, const char *operand, int r);
/* Calls verb for each operand's run, or prints `OPERAND: why not` and goes on: the first error. */
typedef int ctl_run_verb(struct ctl *ctl, int64_t id);
int ctl_each_run(struct ctl *ctl, ctl_run_verb *verb) _must_check_;
/* The project of -p, else of the path `hint` (may be NULL), of the working directory, or the only
 * one. */
int ctl_project(struct ctl *ctl, const char *hint, int64_t *ret_id) _must_check_;

/* --- mantikctl_runs.c: a run, or an experiment or a project with all its runs --- */

struct ctl_runs {
	int64_t run; /* one, or 0: all of the project, or of one experiment of it */
	int64_t project, experiment;
	bool itself; /* … and the experiment or the project, not only its `runs` */
};
/* The path of an experiment or a project (also of its `runs`), else what ctl_run() takes. deleted:
 * also of those that are deleted. */
int ctl_runs(struct ctl *ctl, const char *operand, bool deleted,
	     struct ctl_runs *ret) _must_check_;
/* As ctl_each_run(). A verb gives 0 or an error. */
typedef int ctl_runs_verb(struct ctl *ctl, const struct ctl_runs *runs);
int ctl_each_runs(struct ctl *ctl, bool deleted, ctl_runs_verb *verb) _must_check_;
/* How many runs, and experiments and projects themselves, the operands name; an operand that names
 * none is no error here. */
int ctl_count_runs(struct ctl *ctl, int *ret_runs, int *ret_others) _must_check_;

/* --- mantikctl_value.c: what a run logs; they open the platform themselves if they need it --- */

int ctl_log_lines(struct ctl *ctl, const char *key, const char *lines, size_t len) _must_check_;
int ctl_set_value(struct ctl *ctl, bool is_tag, const char *key, const char *value) _must_check_;

/* --- mantikctl_tree.c: the visible tree without a mount --- */

struct fs_node;
/* Where a path leads: a node of the tree (with one reference) or, by a link, a local path. */
struct ctl_place {
	struct ctl *ctl; /* set by the owner */
	struct fs_node *node;
	bool is_root; /* whose reference is the tree's own */
	char *local;
	char *path; /* in the tree, without links */
};
int ctl_tree(struct ctl *ctl, struct fs_tree **ret) _must_check_;
void ctl_tree_done(struct ctl *ctl); /* also when there is none */
/* follow: also a link that is the last part. ENOENT with the path in the text. */
int ctl_walk(struct ctl *ctl, const char *path, bool follow, struct ctl_place *ret) _must_check_;
void ctl_place_free(struct ctl_place *place);
/* Runs a call of fs/tree again while it parks. */
#define CTL_AGAIN(ctl, r, expr)                                   \
	do {                                                      \
		(r) = (expr);                                     \
	} while ((r) == MK_PARK && ((r) = ctl_park(ctl)) == 0)
int ctl_park(struct ctl *ctl) _must_check_;
/* All bytes of a file of the tree, in order. A sink gives 0 or an error. */
typedef int ctl_sink(struct ctl *ctl, void *arg, const char *data, size_t len);
int ctl_read_node(struct ctl *ctl, struct fs_node *node, ctl_sink *sink, void *arg) _must_check_;
/* Whole text of a file of the tree or a local one ("-": stdin) up to the buffer's limit. */
int ctl_read_text(struct ctl *ctl, const char *operand, struct mk_buf *ret) _must_check_;

#endif
