/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The visible tree, row by row, from the leaves up: read it backwards from fs_root_row. What a row
 * does not say is generic. A {placeholder} stands for what `find` and `list` of its directory give.
 *
 *	/  README.txt  .ignore
 *	   projects/{project}/  project.yaml README.md code/ experiments/ runs/
 *	   sites/{site}/        site.yaml queues.tsv jobs.tsv files/
 *	   connections/         {connection}.yaml
 *	   .mantik/             errors unsent log stats.json version config.yaml ctl trace
 *
 * Rights are this user's: 0444 for what is only shown, 0644 for what can be written.
 */
#include "noun.h"

#define DIR S_IFDIR | 0755
#define SHOWN_DIR S_IFDIR | 0555
#define FILE_ S_IFREG | 0444
#define WRITABLE S_IFREG | 0644
#define LINK S_IFLNK | 0777

/* --- a run --------------------------------------------------------------------------------- */

static const struct fs_row log_rows[] = {
	{.name = "stdout", .mode = FILE_, .class = FS_ENDED, .which = MK_LOG_STDOUT,
	 .stat = fs_joblog_stat, .bytes = fs_joblog_bytes},
	{.name = "stderr", .mode = FILE_, .class = FS_ENDED, .which = MK_LOG_STDERR,
	 .stat = fs_joblog_stat, .bytes = fs_joblog_bytes},
	{.name = "scheduler", .mode = FILE_, .class = FS_ENDED, .which = MK_LOG_SCHEDULER,
	 .stat = fs_joblog_stat, .bytes = fs_joblog_bytes},
	{.name = "submission", .mode = FILE_, .class = FS_ENDED, .which = MK_LOG_SUBMISSION,
	 .stat = fs_joblog_stat, .bytes = fs_joblog_bytes},
	{},
};

/* Keys nest: {dir} has the same children as its parent. First placeholder: directory; second: the
 * value. */
#define KEY_DIR(rows, kind, editors)                                                        \
	{.name = "{dir}", .mode = DIR, .class = FS_OURS, .which = (kind), .flags = (editors), \
	 .children = (rows), .stat = fs_run_stat, .list = fs_keys_list, .find = fs_keys_find, \
	 .create = fs_keys_create, .make = fs_keys_make, .remove = fs_keys_remove}

static const struct fs_row param_rows[3];
static const struct fs_row param_rows[3] = {
	KEY_DIR(param_rows, FS_KEYS_PARAMS, FS_SCRATCH),
	{.name = "{key}", .mode = WRITABLE, .class = FS_ENDED, .which = FS_KEYS_PARAMS,
	 .flags = FS_VALUE, .stat = fs_value_stat, .show = fs_value_show,
	 .commit = fs_value_commit},
	{},
};

static const struct fs_row tag_rows[3];
static const struct fs_row tag_rows[3] = {
	KEY_DIR(tag_rows, FS_KEYS_TAGS, FS_SCRATCH),
	{.name = "{key}", .mode = WRITABLE, .class = FS_ENDED, .which = FS_KEYS_TAGS,
	 .flags = FS_VALUE, .stat = fs_value_stat, .show = fs_value_show,
	 .commit = fs_value_commit, .remove = fs_tag_remove},
	{},
};

static const struct fs_row metric_rows[3];
static const struct fs_row metric_rows[3] = {
	KEY_DIR(metric_rows, FS_KEYS_METRICS, 0),
	{.name = "{key}", .mode = WRITABLE, .class = FS_ENDED, .which = FS_KEYS_METRICS,
	 .flags = FS_VALUE | FS_REMOTE, .stat = fs_value_stat, .show = fs_value_show,
	 .append = fs_metric_append},
	{},
};

/* Files that lie elsewhere, at any depth. */
#define FILE_ROWS(rows, kind)                                                                  \
	{.name = "{dir}", .mode = SHOWN_DIR, .class = FS_ENDED, .which = (kind),               \
	 .children = (rows), .stat = fs_file_stat, .list = fs_files_list,                      \
	 .find = fs_files_find},                                                               \
	{.name = "{file}", .mode = FILE_, .class = FS_ENDED, .which = (kind), .flags = FS_REMOTE, \
	 .stat = fs_file_stat, .bytes = fs_file_bytes},                                        \
	{.name = "{link}", .mode = LINK, .class = FS_ENDED, .which = (kind),                   \
	 .stat = fs_file_stat, .link = fs_file_link},                                          \
	{}

static const struct fs_row artifact_rows[4];
static const struct fs_row artifact_rows[4] = {
	{.name = "{dir}", .mode = SHOWN_DIR, .class = FS_ENDED, .which = FS_FILES_ARTIFACTS,
	 .flags = FS_SCRATCH | FS_STAGED, .children = artifact_rows, .stat = fs_file_stat,
	 .list = fs_files_list, .find = fs_files_find, .make = fs_files_make,
	 .remove = fs_files_remove, .may_put = fs_files_may_put, .put = fs_files_put},
	{.name = "{file}", .mode = FILE_, .class = FS_ENDED, .which = FS_FILES_ARTIFACTS,
	 .flags = FS_REMOTE | FS_STAGED, .stat = fs_file_stat, .bytes = fs_file_bytes},
	{.name = "{link}", .mode = LINK, .class = FS_ENDED, .which = FS_FILES_ARTIFACTS,
	 .stat = fs_file_stat, .link = fs_file_link},
	{},
};
static const struct fs_row model_file_rows[4];
static const struct fs_row model_file_rows[4] = {FILE_ROWS(model_file_rows, FS_FILES_RUN_MODEL)};

static const struct fs_row run_model_rows[] = {
	{.name = "{model}", .mode = SHOWN_DIR, .class = FS_ENDED, .which = FS_FILES_RUN_MODEL,
	 .children = model_file_rows, .stat = fs_file_stat, .list = fs_files_list,
	 .find = fs_files_find},
	{},
};

static const struct fs_row run_rows[] = {
	{.name = "spec.yaml",
	 .hint = "change a copy of it and write that to runs/new (cp COPY runs/new)", .mode = FILE_, .class = FS_OURS, .which = MK_RUN_SPEC,
	 .stat = fs_spec_stat, .show = fs_spec_show},
	{.name = "job_script", .mode = FILE_, .class = FS_OURS, .which = MK_RUN_SCRIPT,
	 .stat = fs_spec_stat, .show = fs_spec_show},
	{.name = "code.diff", .mode = FILE_, .class = FS_OURS, .which = MK_LOG_DIFF,
	 .stat = fs_joblog_stat, .bytes = fs_joblog_bytes},
	{.name = "status", .hint = "a run is ended by `echo cancel > ctl`", .mode = FILE_, .class = FS_ENDED, .stat = fs_status_stat,
	 .show = fs_status_show},
	{.name = "info.yaml", .mode = FILE_, .class = FS_ENDED, .stat = fs_info_stat,
	 .show = fs_info_show},
	{.name = "info.json", .mode = FILE_, .class = FS_ENDED, .which = 1, .stat = fs_info_stat,
	 .show = fs_info_show},
	{.name = "ctl", .mode = WRITABLE, .class = FS_LIVE, .flags = FS_ORDER | FS_LINE,
	 .stat = fs_ctl_stat, .show = fs_ctl_show, .commit = fs_ctl_commit},
	{.name = "wait", .mode = FILE_, .class = FS_LIVE, .flags = FS_HIDDEN,
	 .stat = fs_wait_stat, .wait = fs_wait_wait},
	{.name = "logs", .mode = SHOWN_DIR, .class = FS_OURS, .children = log_rows,
	 .stat = fs_own_run_stat},
	{.name = "params", .mode = DIR, .class = FS_OURS, .which = FS_KEYS_PARAMS,
	 .flags = FS_KEYS | FS_SCRATCH, .children = param_rows, .stat = fs_run_stat,
	 .list = fs_keys_list, .find = fs_keys_find, .create = fs_keys_create,
	 .make = fs_keys_make},
	{.name = "tags", .mode = DIR, .class = FS_OURS, .which = FS_KEYS_TAGS,
	 .flags = FS_KEYS | FS_SCRATCH, .children = tag_rows, .stat = fs_run_stat,
	 .list = fs_keys_list, .find = fs_keys_find, .create = fs_keys_create,
	 .make = fs_keys_make},
	{.name = "metrics", .mode = DIR, .class = FS_OURS, .which = FS_KEYS_METRICS,
	 .flags = FS_KEYS, .children = metric_rows, .stat = fs_run_stat,
	 .list = fs_keys_list, .find = fs_keys_find, .create = fs_keys_create,
	 .make = fs_keys_make},
	{.name = "metrics.tsv", .mode = FILE_, .class = FS_ENDED, .which = 2,
	 .stat = fs_info_stat, .show = fs_metrics_table_show},
	{.name = "artifacts",
	 .hint = "artifacts are what the job left that `artifacts:` of its spec names", .mode = SHOWN_DIR, .class = FS_OURS,
	 .which = FS_FILES_ARTIFACTS, .flags = FS_KEYS | FS_SCRATCH | FS_STAGED,
	 .children = artifact_rows, .stat = fs_artifacts_stat, .list = fs_files_list,
	 .find = fs_files_find, .make = fs_files_make, .may_put = fs_files_may_put,
	 .put = fs_files_put},
	{.name = "models", .hint = "models are logged by the job, to the tracking server",
	 .mode = SHOWN_DIR, .class = FS_OURS, .flags = FS_KEYS, .children = run_model_rows,
	 .stat = fs_run_models_stat, .list = fs_run_models_list, .find = fs_run_models_find},
	{.name = "workdir", .mode = LINK, .class = FS_OURS, .stat = fs_workdir_stat,
	 .link = fs_workdir_link},
	{},
};

static const char run_hint[] =
	"the tree makes what is in a run, only tags, params and metrics can be added; the job's own "
	"files are in workdir/";

/* --- runs ---------------------------------------------------------------------------------- */

static const struct fs_row deleted_rows[] = {
	{.name = "{run}", .hint = run_hint, .mode = DIR, .class = FS_OURS, .kind = FS_RUN, .children = run_rows,
	 .stat = fs_run_stat, .rename = fs_run_dir_rename},
	{},
};

static const struct fs_row runs_rows[] = {
	{.name = "new", .title = "runs/new", .mode = WRITABLE, .class = FS_LIVE, .flags = FS_ORDER,
	 .stat = fs_new_stat, .show = fs_new_show, .commit = fs_new_commit},
	{.name = "defaults.yaml", .mode = WRITABLE, .class = FS_OURS, .which = MK_TEXT_DEFAULTS,
	 .stat = fs_editable_stat, .show = fs_editable_show, .commit = fs_editable_commit},
	{.name = "latest", .mode = LINK, .class = FS_LIVE, .stat = fs_latest_stat,
	 .link = fs_latest_link},
	{.name = "runs.tsv", .mode = FILE_, .class = FS_ENDED, .which = MK_TABLE_PROJECT_RUNS,
	 .stat = fs_table_stat, .show = fs_table_show},
	{.name = "deleted", .hint = "runs come here by mv, and go back by mv", .mode = DIR, .class = FS_OURS, .which = 1, .flags = FS_PAGED,
	 .children = deleted_rows, .list = fs_runs_list, .find = fs_runs_find},
	{.name = "{run}", .hint = run_hint, .mode = DIR, .class = FS_OURS, .kind = FS_RUN, .children = run_rows,
	 .stat = fs_run_stat, .rename = fs_run_dir_rename},
	/* any other name that opens a run: its id, its site's job id, `<text>.<8 hex>` */
	{.name = "{alias}", .mode = LINK, .class = FS_OURS, .link = fs_run_alias_link},
	{},
};

/* --- experiments --------------------------------------------------------------------------- */

static const struct fs_row experiment_run_rows[] = {
	{.name = "{run}", .mode = LINK, .class = FS_OURS, .stat = fs_experiment_run_stat,
	 .link = fs_experiment_run_link},
	{},
};

static const struct fs_row experiment_rows[] = {
	{.name = "experiment.yaml", .mode = WRITABLE, .class = FS_OURS,
	 .which = MK_TEXT_EXPERIMENT, .stat = fs_editable_stat, .show = fs_editable_show,
	 .commit = fs_editable_commit},
	{.name = "runs", .mode = SHOWN_DIR, .class = FS_OURS, .flags = FS_PAGED,
	 .children = experiment_run_rows, .list = fs_experiment_runs_list,
	 .find = fs_experiment_runs_find},
	{.name = "runs.tsv", .mode = FILE_, .class = FS_ENDED, .which = MK_TABLE_EXPERIMENT_RUNS,
	 .stat = fs_table_stat, .show = fs_table_show},
	{.name = "leaderboard.tsv", .mode = FILE_, .class = FS_ENDED,
	 .which = MK_TABLE_LEADERBOARD, .stat = fs_table_stat, .show = fs_table_show},
	{},
};

static const struct fs_row experiments_rows[] = {
	{.name = "{experiment}",
	 .hint = "a run joins an experiment by `experiment:` in its spec", .mode = DIR, .class = FS_OURS, .kind = FS_EXPERIMENT,
	 .flags = FS_SCRATCH, .children = experiment_rows, .stat = fs_named_stat,
	 .remove = fs_named_remove, .rename = fs_named_rename},
	{},
};

/* --- code ---------------------------------------------------------------------------------- */

static const struct fs_row git_rows[4];
static const struct fs_row git_rows[4] = {
	{.name = "{dir}", .mode = SHOWN_DIR, .class = FS_FIXED, .children = git_rows,
	 .stat = fs_git_stat, .list = fs_git_list, .find = fs_git_find},
	{.name = "{file}", .mode = FILE_, .class = FS_FIXED, .stat = fs_git_stat,
	 .bytes = fs_git_bytes},
	{.name = "{link}", .mode = LINK, .class = FS_FIXED, .stat = fs_git_stat,
	 .link = fs_git_link},
	{},
};

static const struct fs_row commits_rows[] = {
	{.name = "{commit}", .mode = SHOWN_DIR, .class = FS_FIXED, .children = git_rows,
	 .stat = fs_git_stat, .list = fs_git_list, .find = fs_git_find},
	{},
};

static const struct fs_row ref_rows[] = {
	{.name = "{ref}", .mode = LINK, .class = FS_SLOW, .link = fs_ref_link},
	{},
};

static const struct fs_row spec_entry_rows[] = {
	{.name = "{entry point}.yaml", .mode = FILE_, .class = FS_SLOW, .flags = FS_REMOTE,
	 .stat = fs_spec_entry_stat, .show = fs_spec_entry_show},
	{},
};

static const struct fs_row spec_project_rows[] = {
	{.name = "{MLproject}", .mode = SHOWN_DIR, .class = FS_SLOW, .children = spec_entry_rows,
	 .list = fs_spec_entries_list, .find = fs_spec_entries_find},
	{},
};

static const struct fs_row spec_branch_rows[] = {
	{.name = "{branch}", .mode = SHOWN_DIR, .class = FS_SLOW, .children = spec_project_rows,
	 .list = fs_spec_projects_list, .find = fs_spec_projects_find},
	{},
};

static const struct fs_row repository_rows[] = {
	{.name = "repository.yaml", .mode = WRITABLE, .class = FS_OURS,
	 .which = MK_TEXT_REPOSITORY, .stat = fs_editable_stat, .show = fs_editable_show,
	 .commit = fs_repository_commit},
	{.name = "branches", .mode = SHOWN_DIR, .class = FS_SLOW, .which = MK_BRANCHES,
	 .children = ref_rows, .list = fs_refs_list, .find = fs_refs_find},
	{.name = "tags", .mode = SHOWN_DIR, .class = FS_SLOW, .which = MK_TAGS,
	 .children = ref_rows, .list = fs_refs_list, .find = fs_refs_find},
	{.name = "commits", .mode = SHOWN_DIR, .class = FS_SLOW, .children = commits_rows,
	 .list = fs_commits_list, .find = fs_commits_find},
	{.name = "log", .mode = FILE_, .class = FS_LIVE, .flags = FS_REMOTE,
	 .show = fs_code_log_show},
	{.name = "specs", .mode = SHOWN_DIR, .class = FS_SLOW, .children = spec_branch_rows,
	 .list = fs_spec_branches_list, .find = fs_spec_branches_find},
	{},
};

static const struct fs_row code_rows[] = {
	{.name = "{repository}",
	 .hint = "it comes from git: change it in a clone and push", .mode = DIR, .class = FS_OURS, .kind = FS_REPOSITORY,
	 .flags = FS_SCRATCH, .children = repository_rows, .stat = fs_named_stat,
	 .remove = fs_named_remove, .rename = fs_named_rename},
	{},
};

/* --- models -------------------------------------------------------------------------------- */

static const struct fs_row version_file_rows[4];
static const struct fs_row version_file_rows[4] = {FILE_ROWS(version_file_rows, FS_FILES_VERSION)};

static const struct fs_row version_rows[] = {
	{.name = "model.yaml", .mode = WRITABLE, .class = FS_LIVE, .stat = fs_model_yaml_stat,
	 .show = fs_version_show, .commit = fs_model_yaml_commit},
	FILE_ROWS(version_file_rows, FS_FILES_VERSION),
};

static const struct fs_row model_rows[] = {
	{.name = "{version}", .mode = DIR, .class = FS_SLOW, .kind = FS_VERSION,
	 .flags = FS_KEYS | FS_SCRATCH, .which = FS_FILES_VERSION, .children = version_rows,
	 .stat = fs_version_stat, .list = fs_files_list, .find = fs_files_find},
	{.name = "{alias}", .mode = LINK, .class = FS_OURS, .link = fs_alias_link},
	{},
};

static const struct fs_row models_rows[] = {
	{.name = "{model}", .mode = SHOWN_DIR, .class = FS_SLOW, .kind = FS_MODEL,
	 .children = model_rows, .stat = fs_model_stat, .list = fs_versions_list,
	 .find = fs_versions_find},
	{},
};

/* --- projects ------------------------------------------------------------------------------ */

static const struct fs_row project_rows[] = {
	{.name = "project.yaml", .mode = WRITABLE, .class = FS_OURS, .which = MK_TEXT_PROJECT,
	 .stat = fs_editable_stat, .show = fs_editable_show, .commit = fs_editable_commit},
	{.name = "README.md", .mode = WRITABLE, .class = FS_OURS, .which = MK_TEXT_README,
	 .stat = fs_editable_stat, .show = fs_editable_show, .commit = fs_editable_commit},
	{.name = "code",
	 .hint = "mkdir adds a repository, then its repository.yaml takes `uri:`", .mode = DIR, .class = FS_OURS, .children = code_rows,
	 .list = fs_named_list, .find = fs_named_find, .make = fs_named_make},
	{.name = "experiments", .hint = "mkdir makes an experiment", .mode = DIR, .class = FS_OURS, .children = experiments_rows,
	 .list = fs_named_list, .find = fs_named_find, .make = fs_named_make},
	{.name = "runs", .hint = "a run is made by writing its spec: cp SPEC runs/new",
	 .mode = DIR, .class = FS_OURS, .flags = FS_PAGED | FS_SCRATCH,
	 .children = runs_rows, .list = fs_runs_list, .find = fs_runs_find},
	{.name = "models", .hint = "models are registered at the tracking server",
	 .mode = SHOWN_DIR, .class = FS_OURS, .children = models_rows, .stat = fs_models_stat,
	 .list = fs_models_list, .find = fs_models_find},
	{},
};

static const struct fs_row projects_rows[] = {
	{.name = "{project}",
	 .hint = "project.yaml and README.md are edited, code/ and experiments/ take directories, "
		 "runs/new takes specs",
	 .mode = DIR, .class = FS_OURS, .kind = FS_PROJECT,
	 .flags = FS_SCRATCH, .children = project_rows, .stat = fs_named_stat,
	 .remove = fs_named_remove, .rename = fs_named_rename},
	{},
};

/* --- sites --------------------------------------------------------------------------------- */

static const struct fs_row site_files_rows[] = {
	{.name = "{files}", .mode = LINK, .class = FS_SLOW, .link = fs_site_file_link},
	{},
};

static const struct fs_row site_rows[] = {
	{.name = "site.yaml", .mode = FILE_, .class = FS_LIVE, .which = MK_SITE_YAML,
	 .show = fs_site_text_show},
	{.name = "queues.tsv", .mode = FILE_, .class = FS_LIVE, .which = MK_SITE_QUEUES,
	 .show = fs_site_text_show},
	{.name = "jobs.tsv", .mode = FILE_, .class = FS_LIVE, .which = MK_SITE_JOBS,
	 .show = fs_site_text_show},
	{.name = "files", .mode = SHOWN_DIR, .class = FS_SLOW, .children = site_files_rows,
	 .list = fs_site_files_list, .find = fs_site_files_find},
	{},
};

static const struct fs_row sites_rows[] = {
	{.name = "{site}", .mode = SHOWN_DIR, .class = FS_SLOW, .children = site_rows},
	{},
};

/* --- connections ---------------------------------------------------------------------------- */

static const struct fs_row connections_rows[] = {
	{.name = "{connection}.yaml", .mode = S_IFREG | 0600, .class = FS_OURS, .flags = FS_SECRET,
	 .stat = fs_connection_stat, .show = fs_connection_show, .commit = fs_connection_commit,
	 .remove = fs_connection_remove, .rename = fs_connection_rename},
	{},
};

static const struct fs_row health_rows[] = {
	{.name = "{connection}", .mode = FILE_, .class = FS_LIVE, .show = fs_health_show},
	{},
};

/* --- the top ------------------------------------------------------------------------------- */

static const struct fs_row mantik_rows[] = {
	{.name = "errors", .mode = FILE_, .class = FS_LIVE, .show = fs_errors_show},
	{.name = "unsent", .mode = FILE_, .class = FS_LIVE, .show = fs_unsent_show},
	{.name = "log", .mode = FILE_, .class = FS_LIVE, .stat = fs_log_stat,
	 .show = fs_log_show},
	{.name = "stats.json", .mode = FILE_, .class = FS_LIVE, .show = fs_stats_show},
	{.name = "version", .mode = FILE_, .class = FS_FIXED, .which = FS_TEXT_VERSION,
	 .stat = fs_fixed_stat, .show = fs_fixed_show},
	{.name = "config.yaml", .mode = FILE_, .class = FS_LIVE, .show = fs_config_show},
	{.name = "ctl", .mode = WRITABLE, .class = FS_LIVE, .flags = FS_ORDER | FS_LINE,
	 .stat = fs_mount_ctl_stat, .show = fs_mount_ctl_show, .commit = fs_mount_ctl_commit},
	{.name = "connections", .mode = SHOWN_DIR, .class = FS_OURS, .children = health_rows,
	 .list = fs_healths_list, .find = fs_healths_find},
	{.name = "trace", .mode = WRITABLE, .class = FS_LIVE, .which = 1,
	 .flags = FS_ORDER | FS_LINE, .stat = fs_log_stat, .show = fs_log_show,
	 .commit = fs_trace_commit},
	{},
};

static const struct fs_row root_rows[] = {
	{.name = "README.txt", .mode = FILE_, .class = FS_FIXED, .which = FS_TEXT_README,
	 .stat = fs_fixed_stat, .show = fs_fixed_show},
	{.name = ".ignore", .mode = FILE_, .class = FS_FIXED, .which = FS_TEXT_IGNORE,
	 .stat = fs_fixed_stat, .show = fs_fixed_show},
	{.name = "projects", .hint = "mkdir makes a project", .mode = DIR, .class = FS_FIXED, .children = projects_rows,
	 .list = fs_named_list, .find = fs_named_find, .make = fs_named_make},
	{.name = "sites", .hint = "what a site tells is only read", .mode = SHOWN_DIR, .class = FS_FIXED, .children = sites_rows,
	 .list = fs_sites_list, .find = fs_sites_find},
	{.name = "connections",
	 .hint = "a connection is a file NAME.yaml that begins with `kind:` and `url:`",
	 .mode = S_IFDIR | 0700, .class = FS_OURS, .flags = FS_SCRATCH,
	 .children = connections_rows, .list = fs_connections_list, .find = fs_connections_find,
	 .create = fs_connections_create},
	{.name = ".mantik", .hint = "what is told about the mount is only read", .mode = SHOWN_DIR, .class = FS_FIXED, .children = mantik_rows},
	{},
};

const struct fs_row fs_root_row = {
	.name = "",
	.hint = "a project is made by mkdir projects/NAME",
	.mode = SHOWN_DIR,
	.class = FS_FIXED,
	.children = root_rows,
};
