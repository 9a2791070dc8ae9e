/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The final command of a run: the command of an entry point (or `command:` of a spec) with its
 * parameters filled in, as MLflow does it: Python's str.format, each value quoted as shlex.quote
 * does. What differs on purpose (tests/mlflow_differential/differences.py has each with its
 * reason):
 *
 * - Lines. A command is one shell text. In a folded block (`>`) deeper lines were meant to go on:
 *   they are joined by a blank. A backslash at a line's end is dropped with the line end. In a
 *   literal block (`|`) a line is a command of its own unless it begins with an option.
 * - Values. shlex.quote is only right where the shell is not in quotes already. We follow the
 *   shell's quoting through the command: bare = shlex.quote; between '…' a ' leaves and re-enters
 *   the quotes; between "…" the characters $ ` " \ are escaped. Where neither can be safe (backticks, ${…},
 *   $'…', arithmetic, comments, here-documents, a text that is read as code again: eval, let, trap,
 *   [[, ssh, bash -c, python -c) a value may hold only letters, digits and @%+=:,./_- or the run is refused.
 * - A parameter the entry point does not have is refused; MLflow appends `--key value`.
 * - Defaults keep their text; MLflow prints what YAML 1.1 made of it (0.00003 becomes 3e-05).
 * - A `path` is a path for the job, taken as it is written; MLflow makes it absolute on the machine
 *   where it was started.
 */
#ifndef MK_COMMAND_H
#define MK_COMMAND_H

#include "format/mlproject.h"

/*
 * `given` are the spec's values (NULL: none). ret_values gets every parameter of the entry point
 * with its final value, in the file's order (what is logged as params); ret_command the command.
 * Warnings (a value that does not fit its type, a parameter the command does not use) are added to
 * `warnings`. `source` is the MLproject's path.
 *
 * EINVAL  no value for a parameter (all of them are named), unknown parameter with the nearest
 *         name, undefined placeholder, not an address where the type is `uri`, unclosed quotes, a
 *         value that cannot be put there safely
 * EOPNOTSUPP  `not supported yet: …`: an address as value of a `path` parameter
 */
int mk_command_entry(struct mk_call *call, const char *source, const struct mk_entry_point *entry,
		     const struct mk_pairs *given, struct mk_pairs *ret_values, char **ret_command,
		     struct mk_list *warnings) _must_check_;
/* `command:` of a spec: its parameters are exactly those given. `style` as in struct mk_doc. */
int mk_command_plain(struct mk_call *call, const char *source, int line, const char *command,
		     char style, const struct mk_pairs *given, char **ret_command) _must_check_;

#endif
