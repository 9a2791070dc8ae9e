/* SPDX-License-Identifier: Apache-2.0 */
/* The verbs of the nouns, for the table. Each is explained where it is. */
#ifndef FS_NOUN_H
#define FS_NOUN_H

#include "row.h"

/* nouns/root.c: texts that never change; which: enum fs_fixed_text */
enum fs_fixed_text { FS_TEXT_README, FS_TEXT_IGNORE, FS_TEXT_VERSION };
int fs_fixed_stat(struct fs_at *at, struct fs_stat *st);
int fs_fixed_show(struct fs_at *at, struct mk_buf *text);

/* nouns/mount.c: .mantik/ */
int fs_errors_show(struct fs_at *at, struct mk_buf *text);
int fs_unsent_show(struct fs_at *at, struct mk_buf *text);
int fs_log_stat(struct fs_at *at, struct fs_stat *st);
int fs_log_show(struct fs_at *at, struct mk_buf *text);
int fs_stats_show(struct fs_at *at, struct mk_buf *text);
int fs_config_show(struct fs_at *at, struct mk_buf *text);
int fs_mount_ctl_stat(struct fs_at *at, struct fs_stat *st);
int fs_mount_ctl_show(struct fs_at *at, struct mk_buf *text);
int fs_mount_ctl_commit(struct fs_at *at, struct fs_commit *commit);
int fs_trace_commit(struct fs_at *at, struct fs_commit *commit);

/* nouns/named.c: projects, experiments and repositories, by the kind of the row */
int fs_named_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_named_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_named_make(struct fs_at *at, const char *name, struct fs_child *child);
int fs_named_stat(struct fs_at *at, struct fs_stat *st);
int fs_named_remove(struct fs_at *at);
int fs_named_rename(struct fs_at *at, struct fs_at *to, const char *name);

/* nouns/editable.c: texts people edit; which: enum mk_text_kind */
int fs_editable_stat(struct fs_at *at, struct fs_stat *st);
int fs_editable_show(struct fs_at *at, struct mk_buf *text);
int fs_editable_commit(struct fs_at *at, struct fs_commit *commit);

/* nouns/experiment.c: the runs of an experiment, and tables; which: enum mk_table */
int fs_experiment_runs_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_experiment_runs_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_experiment_run_stat(struct fs_at *at, struct fs_stat *st);
int fs_experiment_run_link(struct fs_at *at, struct mk_buf *target);
int fs_table_stat(struct fs_at *at, struct fs_stat *st);
int fs_table_show(struct fs_at *at, struct mk_buf *text);

/* nouns/runs.c: runs/ and runs/deleted/ (which: 1) */
int fs_runs_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_runs_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_run_dir_rename(struct fs_at *at, struct fs_at *to, const char *name);
int fs_run_alias_link(struct fs_at *at, struct mk_buf *target);
int fs_latest_stat(struct fs_at *at, struct fs_stat *st);
int fs_latest_link(struct fs_at *at, struct mk_buf *target);
int fs_new_stat(struct fs_at *at, struct fs_stat *st);
int fs_new_show(struct fs_at *at, struct mk_buf *text);
int fs_new_commit(struct fs_at *at, struct fs_commit *commit);

/* nouns/run.c: what is in a run */
struct fs_run { /* a counted snapshot */
	_Atomic int refs;
	struct mk_run run;
};
int fs_run_get(struct fs_at *at, int64_t id, struct fs_run **ret);
/* As it is known: for what a listing of many runs looks at. */
int fs_run_peek(struct fs_at *at, int64_t id, struct fs_run **ret);
/* Somebody looks at it: while it goes on there is a mantikd. */
void fs_run_keep(struct fs_at *at, const struct fs_run *run);
void fs_run_unref(struct fs_run *run);
static inline void fs_run_unrefp(struct fs_run **run)
{
	fs_run_unref(*run);
	*run = NULL;
}
#define _cleanup_run_ _cleanup_(fs_run_unrefp)
int fs_run_stat(struct fs_at *at, struct fs_stat *st);
int fs_own_run_stat(struct fs_at *at, struct fs_stat *st);
int fs_spec_stat(struct fs_at *at, struct fs_stat *st);
int fs_spec_show(struct fs_at *at, struct mk_buf *text);
int fs_status_stat(struct fs_at *at, struct fs_stat *st);
int fs_status_show(struct fs_at *at, struct mk_buf *text);
int fs_info_stat(struct fs_at *at, struct fs_stat *st);
int fs_info_show(struct fs_at *at, struct mk_buf *text);
int fs_wait_stat(struct fs_at *at, struct fs_stat *st);
int fs_wait_wait(struct fs_at *at, struct mk_buf *text);
int fs_workdir_stat(struct fs_at *at, struct fs_stat *st);
int fs_workdir_link(struct fs_at *at, struct mk_buf *target);
int fs_ctl_stat(struct fs_at *at, struct fs_stat *st);
int fs_ctl_show(struct fs_at *at, struct mk_buf *text);
int fs_ctl_commit(struct fs_at *at, struct fs_commit *commit);

/* nouns/keys.c: params/ tags/ metrics/ (which: enum fs_keys_kind) and metrics.tsv */
enum fs_keys_kind { FS_KEYS_PARAMS = MK_PARAM, FS_KEYS_TAGS = MK_TAG, FS_KEYS_METRICS };
int fs_keys_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_keys_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_keys_create(struct fs_at *at, const char *name, struct fs_child *child);
int fs_keys_make(struct fs_at *at, const char *name, struct fs_child *child);
int fs_keys_remove(struct fs_at *at);
int fs_tag_remove(struct fs_at *at);
/* nouns/keydirs.c: those without keys */
void fs_keydir_add(struct fs_at *at, const char *key);
bool fs_keydir_is(struct fs_at *at, const char *key);
void fs_keydir_remove(struct fs_at *at, const char *key);
int fs_keydirs(struct fs_at *at, const char *prefix, struct mk_list *ret);
int fs_value_stat(struct fs_at *at, struct fs_stat *st);
int fs_value_show(struct fs_at *at, struct mk_buf *text);
int fs_value_commit(struct fs_at *at, struct fs_commit *commit);
int fs_metric_append(struct fs_at *at, const char *lines, size_t len);
int fs_metrics_table_show(struct fs_at *at, struct mk_buf *text);

/* nouns/bytes.c: logs/ (which: enum mk_log), and files (which: enum fs_files_kind) */
int fs_joblog_stat(struct fs_at *at, struct fs_stat *st);
int fs_joblog_bytes(struct fs_at *at, struct mk_blob **ret);
/* (apart from fs_keys_kind: both have directories that are only made) */
enum fs_files_kind { FS_FILES_ARTIFACTS = 16, FS_FILES_RUN_MODEL, FS_FILES_VERSION };
int fs_files_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_files_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_files_make(struct fs_at *at, const char *name, struct fs_child *child);
int fs_files_remove(struct fs_at *at);
int fs_files_may_put(struct fs_at *at, const char *name);
int fs_files_put(struct fs_at *at, const char *name, struct mk_staged *staged);
int fs_artifacts_stat(struct fs_at *at, struct fs_stat *st);
int fs_file_stat(struct fs_at *at, struct fs_stat *st);
int fs_file_bytes(struct fs_at *at, struct mk_blob **ret);
int fs_file_link(struct fs_at *at, struct mk_buf *target);

/* nouns/model.c: models/ of a project and of a run */
int fs_models_stat(struct fs_at *at, struct fs_stat *st);
int fs_models_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_models_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_model_stat(struct fs_at *at, struct fs_stat *st);
int fs_versions_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_versions_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_version_stat(struct fs_at *at, struct fs_stat *st);
int fs_model_yaml_stat(struct fs_at *at, struct fs_stat *st);
int fs_model_yaml_commit(struct fs_at *at, struct fs_commit *commit);
int fs_version_show(struct fs_at *at, struct mk_buf *text);
int fs_alias_link(struct fs_at *at, struct mk_buf *target);
int fs_run_models_stat(struct fs_at *at, struct fs_stat *st);
int fs_run_models_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_run_models_find(struct fs_at *at, const char *name, struct fs_child *child);

/* nouns/code.c: code/, refs (which: enum mk_refs), commits/ */
int fs_repository_commit(struct fs_at *at, struct fs_commit *commit);
int fs_refs_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_refs_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_ref_link(struct fs_at *at, struct mk_buf *target);
int fs_commits_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_commits_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_git_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_git_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_git_stat(struct fs_at *at, struct fs_stat *st);
int fs_git_bytes(struct fs_at *at, struct mk_blob **ret);
int fs_git_link(struct fs_at *at, struct mk_buf *target);
int fs_code_log_show(struct fs_at *at, struct mk_buf *text);
/* Calls emit for each branch or tag with its entry; used by specs/ too. */
/* The commit an entry of branches/ or tags/ stands for; its name into `name` if not NULL. */
int fs_ref_find(struct fs_at *at, enum mk_refs kind, const char *entry, struct mk_oid *ret,
		struct mk_buf *name);

/* nouns/specs.c: code/<repository>/specs/ */
int fs_spec_branches_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_spec_branches_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_spec_projects_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_spec_projects_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_spec_entries_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_spec_entries_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_spec_entry_stat(struct fs_at *at, struct fs_stat *st);
int fs_spec_entry_show(struct fs_at *at, struct mk_buf *text);

/* nouns/connection.c: connections/ and .mantik/connections/ */
int fs_connections_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_connections_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_connections_create(struct fs_at *at, const char *name, struct fs_child *child);
int fs_connection_stat(struct fs_at *at, struct fs_stat *st);
int fs_connection_show(struct fs_at *at, struct mk_buf *text);
int fs_connection_commit(struct fs_at *at, struct fs_commit *commit);
int fs_connection_remove(struct fs_at *at);
int fs_connection_rename(struct fs_at *at, struct fs_at *to, const char *name);
int fs_healths_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_healths_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_health_show(struct fs_at *at, struct mk_buf *text);

/* nouns/site.c: sites/ (which: enum mk_site_text) */
int fs_sites_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_sites_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_site_text_show(struct fs_at *at, struct mk_buf *text);
int fs_site_files_list(struct fs_at *at, uint64_t after, fs_emit *emit, void *arg);
int fs_site_files_find(struct fs_at *at, const char *name, struct fs_child *child);
int fs_site_file_link(struct fs_at *at, struct mk_buf *target);

#endif
