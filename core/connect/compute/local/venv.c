/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Environments that a commit asks for: python_env.yaml (a venv filled by pip) and conda.yaml.
 *
 *	<cache>/envs/<digest>/           one per content of the file and what it names
 *	<cache>/envs/<digest>/.complete  made last: without it the directory is a ruin
 *	<cache>/envs/<digest>.lock       flock: one builds, the others wait. It is the tools' output,
 *	                                 too, so that a tool which outlives a killed mantikd keeps it
 *
 * Built in place, because a venv cannot be moved. Runs in a lane thread and can be cancelled.
 */
#include "connect/compute/local/local.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "base/doc.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/program.h"
#include "net/exec.h"

enum { MAX_FILE = 1 << 20, MAX_LAST_WORDS = 512 };

struct python_env {
	char *python; /* "3.11", "3.11.7" or NULL */
	struct mk_list build;
	struct mk_list dependencies;
};

static void python_env_free(struct python_env *p)
{
	free(p->python);
	mk_list_free(&p->build);
	mk_list_free(&p->dependencies);
}

struct build {
	struct mk_call *call;
	const struct mk_job_order *order;
	char *file; /* the yaml, absolute */
	char *dir;  /* it lies there */
	char *env;  /* the environment, absolute */
	int lock;
};

static void build_free(struct build *b)
{
	free(b->file);
	free(b->dir);
	free(b->env);
}

static void note(const struct mk_job_order *order, const char *line)
{
	if (order->note)
		order->note(order->note_arg, line);
}

/* In PATH, or where jobs look for it. */
static bool in_path(const char *name)
{
	static const char *const dirs[] = {"/usr/local/bin", "/usr/bin", "/bin"};

	for (size_t i = 0; i < sizeof(dirs) / sizeof(*dirs); i++) {
		_cleanup_free_ char *path = mk_strf("%s/%s", dirs[i], name);

		if (mk_program_exists(path))
			return true;
	}
	return mk_program_exists(name);
}

static const char *conda_program(void)
{
	static const char *const programs[] = {"micromamba", "mamba", "conda"};

	for (size_t i = 0; i < sizeof(programs) / sizeof(*programs); i++)
		if (in_path(programs[i]))
			return programs[i];
	return NULL;
}

int mk_venv_check(struct mk_call *call, const struct mk_plan *plan)
{
	if (plan->conda_env && !conda_program())
		return mk_fail(call, ENOENT,
			       "%s: this machine has none of micromamba, mamba and conda; install one, "
			       "or use python_env.yaml",
			       plan->conda_env);
	if (plan->python_env && !in_path("python3"))
		return mk_fail(call, ENOENT, "%s: this machine has no python3", plan->python_env);
	return 0;
}

static int read_python_env(struct build *b, const char *name, const char *text, size_t len,
			   struct python_env *ret)
{
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	const char *python = NULL;
	int r = mk_doc_parse(b->call, name, text, len, &doc);

	if (r < 0)
		return r;
	r = mk_doc_text(b->call, name, doc, "python", &python);
	if (r < 0)
		return r;
	ret->python = mk_strdup(python);
	r = mk_doc_texts(b->call, name, doc, "build_dependencies", &ret->build);
	if (r >= 0)
		r = mk_doc_texts(b->call, name, doc, "dependencies", &ret->dependencies);
	if (r < 0)
		return r;
	return mk_doc_leftover(b->call, name, doc);
}

/* "3.11.7" -> 3 and 11. */
static bool version_parts(const char *version, int *major, int *minor)
{
	return sscanf(version, "%d.%d", major, minor) == 2;
}

/* A python of the asked minor version. */
static int find_python(struct build *b, const char *name, const char *wanted, char **ret)
{
	_cleanup_buf_ struct mk_buf out = MK_BUF(256);
	const char *const argv[] = {
		"python3", "-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])", NULL};
	struct mk_exec exec = {.remote = "local", .argv = argv, .out = &out};
	int major, minor, have_major, have_minor;

	if (!wanted) {
		*ret = mk_strdup("python3");
		return 0;
	}
	if (!version_parts(wanted, &major, &minor))
		return mk_fail(b->call, EINVAL, "%s: python: \"%s\" is not a version like 3.11", name,
			       wanted);

	_cleanup_free_ char *exact = mk_strf("python%d.%d", major, minor);

	if (in_path(exact)) {
		*ret = mk_steal(&exact);
		return 0;
	}

	int r = mk_exec_run(b->call, &exec);

	if (r < 0)
		return r;
	if (out.len && out.data[out.len - 1] == '\n')
		mk_buf_truncate(&out, out.len - 1);
	if (!version_parts(mk_buf_text(&out), &have_major, &have_minor) || have_major != major ||
	    have_minor != minor)
		return mk_fail(b->call, ENOENT, "%s asks for python %s; this machine has %s", name,
			       wanted, mk_buf_text(&out));
	*ret = mk_strdup("python3");
	return 0;
}

/* Runs a tool in the file's directory, its output into the environment's log and, when it does not
 * work, its last words into the error. */
static int run_tool(struct build *b, const char *what, const char *const *argv)
{
	_cleanup_buf_ struct mk_buf err = MK_BUF(4096);
	/* The directory is there, so conda asks whether to go on; nobody is there to answer. */
	static const char *const env[] = {"CONDA_ALWAYS_YES=true", "MAMBA_ALWAYS_YES=true", NULL};
	int status = 0;
	struct mk_exec exec = {
		.remote = "local",
		.argv = argv,
		.env = env,
		.dir = b->dir,
		.err = &err,
		.out_fd = b->lock,
		.ret_status = &status,
	};
	int r;

	r = mk_exec_run(b->call, &exec);
	if (r == 0 && status == 0)
		return 0;

	/* The last line says why. */
	char *end = err.data ? err.data + err.len : NULL;

	while (end && end > err.data && (end[-1] == '\n' || end[-1] == ' '))
		*--end = 0;

	const char *last = end ? memrchr(err.data, '\n', (size_t)(end - err.data)) : NULL;

	last = last ? last + 1 : mk_buf_text(&err);
	for (const char *line = mk_buf_text(&err); line && *line;) {
		size_t len = strcspn(line, "\n");
		_cleanup_free_ char *text = mk_strf("%s: %.*s", what, (int)len, line);

		note(b->order, text);
		line = line[len] ? line + len + 1 : NULL;
	}
	if (r < 0)
		return mk_prefix(b->call, r, "%s", what);
	return mk_fail(b->call, EREMOTEIO, "%s: exit code %d: %.*s", what, status, MAX_LAST_WORDS, last);
}

static int pip_install(struct build *b, const char *python, const char *what,
		       const struct mk_list *packages)
{
	static const char *const head[] = {"-m", "pip", "install", "--disable-pip-version-check",
					   "--no-input", "--quiet"};
	_cleanup_list_ struct mk_list words = {};
	int r = mk_list_add(&words, python);

	for (size_t i = 0; r >= 0 && i < sizeof(head) / sizeof(*head); i++)
		r = mk_list_add(&words, head[i]);
	for (size_t i = 0; r >= 0 && i < packages->n; i++) {
		const char *p = packages->v[i];

		/* `-r requirements.txt`: an option and its file, as in a requirements file. */
		if (*p == '-' && strchr(p, ' ')) {
			r = mk_list_add_n(&words, p, strcspn(p, " "));
			p += strcspn(p, " ");
			p += strspn(p, " ");
		}
		if (r >= 0)
			r = mk_list_add(&words, p);
	}
	if (r < 0)
		return mk_fail(b->call, -r, "%s: too many packages", what);
	if (packages->n == 0)
		return 0;

	_cleanup_free_ const char **argv = calloc(words.n + 1, sizeof(*argv));

	if (!argv)
		return mk_fail(b->call, ENOMEM, "%s: out of memory", what);
	for (size_t i = 0; i < words.n; i++)
		argv[i] = words.v[i];
	return run_tool(b, what, argv);
}

static int build_venv(struct build *b, const char *name, const char *text, size_t len)
{
	_cleanup_(python_env_free) struct python_env p = {};
	_cleanup_free_ char *python = NULL;
	_cleanup_free_ char *inner = mk_strf("%s/bin/python", b->env);
	int r = read_python_env(b, name, text, len, &p);

	if (r < 0)
		return r;
	r = find_python(b, name, p.python, &python);
	if (r < 0)
		return r;
	r = run_tool(b, "venv", (const char *const[]){python, "-m", "venv", b->env, NULL});
	if (r < 0)
		return r;
	r = pip_install(b, inner, "pip (build_dependencies)", &p.build);
	if (r < 0)
		return r;
	return pip_install(b, inner, "pip", &p.dependencies);
}

static int build_conda(struct build *b)
{
	const char *program = conda_program();

	if (!program)
		return mk_venv_check(b->call, b->order->plan);

	bool micro = strcmp(program, "micromamba") == 0;
	const char *const argv[] = {program, micro ? "create" : "env", micro ? "-y" : "create", "-p",
				    b->env,  "-f",		     b->file,		      NULL};

	return run_tool(b, program, argv);
}

/* The digest covers the file and the requirement files beside it that it names. */
static void digest(const struct build *b, const struct mk_buf *text, char out[65])
{
	_cleanup_buf_ struct mk_buf all = MK_BUF(16 << 20);

	(void)mk_buf_printf(&all, "1\n%s\n", b->order->plan->python_env ? "venv" : "conda");
	(void)mk_buf_put(&all, mk_buf_text(text), text->len);
	for (const char *p = mk_buf_text(text); (p = strstr(p, "-r")); p += 2) {
		const char *name = p + 2 + strspn(p + 2, " \t");
		_cleanup_free_ char *word = mk_strndup(name, strcspn(name, " \t\n\"',]"));
		_cleanup_free_ char *path = mk_strf("%s/%s", b->dir, word);
		_cleanup_buf_ struct mk_buf more = MK_BUF(MAX_FILE);
		_cleanup_call_ struct mk_call quiet;

		mk_call_init(&quiet);
		if (*word && mk_file_read(&quiet, AT_FDCWD, path, &more) == 0)
			(void)mk_buf_put(&all, mk_buf_text(&more), more.len);
	}
	mk_sha256_hex(mk_buf_text(&all), all.len, out);
}

static int build(struct build *b, const char *name, const struct mk_buf *text, int envs)
{
	const char *base = strrchr(b->env, '/') + 1;
	_cleanup_free_ char *complete = mk_strf("%s/.complete", b->env);
	_cleanup_free_ char *line = NULL;
	int r = mk_remove_tree(b->call, envs, base);

	if (r < 0)
		return r;
	if (mkdirat(envs, base, 0700) < 0)
		return mk_fail(b->call, errno, "%s: %s", b->env, strerror(errno));
	(void)!ftruncate(b->lock, 0);
	line = mk_strf("building the environment of %s in %s", name, b->env);
	note(b->order, line);
	if (b->order->plan->python_env)
		r = build_venv(b, name, mk_buf_text(text), text->len);
	else
		r = build_conda(b);
	if (r == 0)
		r = mk_file_write(b->call, AT_FDCWD, complete, "", 0, 0600, true);
	if (r < 0) {
		_cleanup_call_ struct mk_call quiet;

		mk_call_init(&quiet);
		(void)!mk_remove_tree(&quiet, envs, base);
		return r;
	}
	note(b->order, "the environment is complete");
	return 0;
}

/* Waits for whoever builds the same one, without being deaf to a cancel. */
static int lock(struct mk_call *call, const char *path, int *ret)
{
	_cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

	if (fd < 0)
		return mk_fail(call, errno, "%s: %s", path, strerror(errno));
	while (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		int r = mk_call_check(call, "the same environment, which another run is building");

		if (r < 0)
			return r;
		if (errno != EWOULDBLOCK && errno != EINTR)
			return mk_fail(call, errno, "%s: %s", path, strerror(errno));
		/* flock has no event; building takes seconds. */
		usleep(100000);
	}
	*ret = mk_steal_fd(&fd);
	return 0;
}

static int activate(struct mk_call *call, const struct build *b, bool conda, struct mk_pairs *env)
{
	const char *path = mk_pairs_get(env, "PATH");
	_cleanup_free_ char *longer = mk_strf("%s/bin:%s", b->env, path ? path : "/usr/bin:/bin");

	if (mk_pairs_set(env, "PATH", longer) < 0 ||
	    mk_pairs_set(env, conda ? "CONDA_PREFIX" : "VIRTUAL_ENV", b->env) < 0)
		return mk_fail(call, ENOMEM, "environment: out of memory");
	return 0;
}

int mk_venv_prepare(struct mk_call *call, struct mk_site *site, const struct mk_job_order *order,
		    struct mk_pairs *env)
{
	const struct mk_plan *plan = order->plan;
	const char *name = plan->python_env ? plan->python_env : plan->conda_env;
	_cleanup_buf_ struct mk_buf text = MK_BUF(MAX_FILE);
	_cleanup_(build_free) struct build b = {.call = call, .order = order};
	_cleanup_free_ char *envs_path = mk_strf("%s/envs", site->m->cache_dir);
	_cleanup_close_ int envs = -1, locked = -1;
	char hex[65];
	int r;

	if (!name)
		return 0;
	b.file = mk_strf("%s/%s", order->workdir, name);
	b.dir = mk_strndup(b.file, (size_t)(strrchr(b.file, '/') - b.file));
	r = mk_file_read(call, AT_FDCWD, b.file, &text);
	if (r < 0)
		return r;
	r = mk_mkdirs(call, envs_path, 0700);
	if (r < 0)
		return r;
	digest(&b, &text, hex);
	hex[24] = 0;
	b.env = mk_strf("%s/%s", envs_path, hex);
	envs = open(envs_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (envs < 0)
		return mk_fail(call, errno, "%s: %s", envs_path, strerror(errno));

	_cleanup_free_ char *lock_path = mk_strf("%s.lock", b.env);
	_cleanup_free_ char *complete = mk_strf("%s/.complete", b.env);

	r = lock(call, lock_path, &locked);
	if (r < 0)
		return r;
	b.lock = locked;
	if (access(complete, F_OK) < 0)
		r = build(&b, name, &text, envs);
	if (r < 0)
		return r;
	return activate(call, &b, plan->conda_env && !plan->python_env, env);
}
