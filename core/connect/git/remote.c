/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The git program: asking a remote for its refs, and fetching. It runs with the user's own git
 * configuration (credential helpers, proxies, ssh command) but can neither ask questions, nor run
 * hooks, nor collect garbage, nor speak a transport we have not checked.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/path.h"
#include "connect/git/internal.h"
#include "net/exec.h"
#include "net/http.h"

enum { MAX_ARGS = 64, MAX_REFS_TEXT = 64 << 20, MAX_CONFIG = 65536, MAX_LOGIN = 1 << 18 };

/* Over whatever the user's configuration says. */
static const char *const settings[] = {
	"core.hooksPath=/dev/null",
	"core.fsmonitor=false",
	"core.askPass=",
	"core.fsync=committed,reference", /* a pinned commit survives power loss */
	"core.fsyncMethod=batch",
	"gc.auto=0", /* nothing is lost that no branch shows any more */
	"maintenance.auto=false",
	"fetch.prune=false",
	"fetch.pruneTags=false",
	"fetch.recurseSubmodules=false",
	"fetch.writeCommitGraph=false",
	"submodule.recurse=false",
	"protocol.version=2",
	"advice.detachedHead=false",
	"http.lowSpeedLimit=1024",
};

/* Variables of git that people set for good reason; all others are taken away. */
static const char *const kept[] = {
	"GIT_SSL_CAINFO",      "GIT_SSL_CAPATH",       "GIT_SSL_CERT",
	"GIT_SSL_KEY",	       "GIT_EXEC_PATH",	       "GIT_CONFIG_SYSTEM",
	"GIT_CONFIG_NOSYSTEM", "GIT_PROXY_SSL_CAINFO", "GIT_SSH_VARIANT",
};

/* What git, ssh and curl say, what it means, what to do. First match wins. */
static const struct {
	const char *words;
	int code;
	const char *advice;
} meanings[] = {
	{"No space left on device", ENOSPC, "make room below the data directory"},
	{"Disk quota exceeded", EDQUOT, "make room below the data directory"},
	{"Operation too slow", ETIMEDOUT, "it went silent; try again"},
	{"Could not resolve host", EHOSTUNREACH, "check the host name and the network"},
	{"Name or service not known", EHOSTUNREACH, "check the host name and the network"},
	{"name resolution", EHOSTUNREACH, "check the host name and the network"},
	{"Connection refused", EHOSTUNREACH, "nothing listens there"},
	{"Connection timed out", EHOSTUNREACH, "the host does not answer"},
	{"Connection reset", EHOSTUNREACH, "try again"},
	{"No route to host", EHOSTUNREACH, "check the network"},
	{"Network is unreachable", EHOSTUNREACH, "check the network"},
	{"Failed to connect", EHOSTUNREACH, "check the network"},
	{"unable to connect", EHOSTUNREACH, "check the network"},
	{"Host key verification failed", EACCES,
	 "connect once with ssh in a terminal to accept the host's key"},
	{"Permission denied (", EACCES, "add your key: ssh-add, or ssh-copy-id"},
	{"could not read Username", EACCES,
	 "it wants a login: write a connection of kind git, or set up a git credential helper"},
	{"could not read Password", EACCES,
	 "it wants a password: write a connection of kind git, or set up a git credential helper"},
	{"Authentication failed", EACCES, "the login was refused: renew the password or token"},
	{"HTTP Basic: Access denied", EACCES, "the login was refused: renew the token"},
	{"error: 401", EACCES, "the login was refused: renew the password or token"},
	{"error: 403", EACCES, "the login may not read this repository"},
	{"Repository not found", EREMOTEIO, "check the uri and whether this login may read it"},
	{"not found", EREMOTEIO, "check the uri and whether this login may read it"},
	{"does not appear to be a git repository", EREMOTEIO, "check the uri"},
	{"does not exist", EREMOTEIO, "check the uri"},
	{"invalid gitfile format", EREMOTEIO, "check the uri: a file is no repository"},
	{"dubious ownership", EACCES, "the repository belongs to somebody else"},
	{"SSL certificate", EREMOTEIO, "its certificate is not trusted: set http.sslCAInfo in git"},
	{"certificate verif", EREMOTEIO,
	 "its certificate is not trusted: set http.sslCAInfo in git"},
	{"transport '", EPERM, "only https, http, ssh, git and paths are allowed"},
	{"mismatched algorithms", EOPNOTSUPP, "SHA-256 repositories are not supported yet"},
	{"Permission denied", EACCES, "check the rights of the repository's files"},
};

/* Lines worth showing: no progress (ends in \r, but ssh ends all in \r\n), no empty ones. At most
 * the last four. */
static char *last_words(const char *err)
{
	struct mk_buf words = MK_BUF(4096);
	const char *lines[4];
	size_t lens[4], n = 0;

	while (err && *err) {
		size_t len = strcspn(err, "\r\n");
		bool progress = (err[len] == '\r' && err[len + 1] != '\n') ||
				memmem(err, len, "% (", 3) || memmem(err, len, ", done.", 7);

		if (len && !progress) {
			if (n == 4) {
				memmove(lines, lines + 1, 3 * sizeof(*lines));
				memmove(lens, lens + 1, 3 * sizeof(*lens));
				n--;
			}
			lines[n] = err;
			lens[n++] = len;
		}
		err += len + (err[len] != 0);
	}
	for (size_t i = 0; i < n; i++)
		if (mk_buf_printf(&words, "%s%.*s", i ? "; " : "", (int)lens[i], lines[i]) < 0)
			break;
	return mk_buf_steal(&words);
}

/* `fatal:` and `error:` lines say it; ssh's own line stands before them. */
static int explain(struct mk_call *call, const struct git_command *command, int r)
{
	const struct mk_origin *origin = command->origin;
	_cleanup_free_ char *words = last_words(call->error.detail);
	_cleanup_free_ char *text = mk_steal(&call->error.text);
	int status = call->error.status;

	if (!origin)
		return mk_fail(call, -r, "%s: %s", command->label ? command->label : "git",
			       *words ? words : text);
	for (size_t i = 0; r == -EREMOTEIO && i < sizeof(meanings) / sizeof(*meanings); i++) {
		if (!strcasestr(words, meanings[i].words))
			continue;
		r = mk_fail(call, meanings[i].code, "%s: %s: %s (%s)", origin->label, origin->shown,
			    words, meanings[i].advice);
		mk_error_detail(call, origin->lane, status, words);
		return r;
	}
	r = mk_fail(call, -r, "%s: %s: %s", origin->label, origin->shown,
		    r == -EREMOTEIO && *words ? words : text);
	mk_error_detail(call, origin->lane, status, words);
	return r;
}

bool mk_remote_refused(const struct mk_call *call)
{
	const char *words = call->error.detail;

	switch (call->error.code) {
	case EACCES:
	case EPERM:
	case EOPNOTSUPP:
	case ENOENT: /* a path of this machine */
	case ENOTDIR:
	case EXDEV:
		return true;
	case EREMOTEIO: /* known words only: anything else may be a server's bad day */
		for (size_t i = 0; words && i < sizeof(meanings) / sizeof(*meanings); i++)
			if (strcasestr(words, meanings[i].words))
				return meanings[i].code == EREMOTEIO;
		return false;
	default:
		return false;
	}
}

/* The user's global configuration plus what only a file can say: upload-pack of a local remote
 * runs without our -c, and refuses repositories of other owners unless told. */
static int write_config(struct mk_call *call, struct mk_mirror *mirror,
			const struct mk_origin *origin, struct mk_buf *env)
{
	const char *own = getenv("GIT_CONFIG_GLOBAL"), *home = getenv("HOME");
	const char *xdg = getenv("XDG_CONFIG_HOME");
	struct mk_buf text = MK_BUF(MAX_CONFIG), name = MK_BUF(65536);

	if (own)
		(void)mk_buf_printf(&text, "[include]\n\tpath = \"%s\"\n", own);
	else if (xdg)
		(void)mk_buf_printf(&text, "[include]\n\tpath = \"%s/git/config\"\n", xdg);
	else if (home)
		(void)mk_buf_printf(&text, "[include]\n\tpath = \"%s/.config/git/config\"\n", home);
	if (!own && home)
		(void)mk_buf_printf(&text, "[include]\n\tpath = \"%s/.gitconfig\"\n", home);
	if (origin && origin->path && !strpbrk(origin->path, "\"\\\n"))
		(void)mk_buf_printf(&text,
				    "[safe]\n\tdirectory = \"%s\"\n\tdirectory = \"%s/.git\"\n"
				    "\tdirectory = \"%s.git\"\n",
				    origin->path, origin->path, origin->path);
	/* A pack is there at once, with all that its commits need. Loose objects come one by one: who
	 * reads meanwhile, here or in another process, finds a commit without its files. */
	(void)mk_buf_puts(&text, "[fetch]\n\tunpackLimit = 1\n");
	(void)mk_buf_printf(&name, "%s/mantik-config", mirror->path);

	_cleanup_free_ char *data = mk_buf_steal(&text);
	_cleanup_free_ char *path = mk_buf_steal(&name);
	size_t len = strlen(data);
	_cleanup_buf_ struct mk_buf fresh = MK_BUF(65536);

	/* Renamed: another process may be reading the same. */
	(void)mk_buf_printf(&fresh, "%s.%d.%lx", path, (int)getpid(),
			    (unsigned long)pthread_self());

	_cleanup_close_ int fd =
		open(mk_buf_text(&fresh), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, len) != (ssize_t)len ||
	    rename(mk_buf_text(&fresh), path) < 0) {
		int code = errno ? errno : EIO;

		(void)unlink(mk_buf_text(&fresh));
		return mk_fail(call, code, "%s: %s", path, strerror(code));
	}
	(void)mk_buf_printf(env, "GIT_CONFIG_GLOBAL=%s", path);
	return 0;
}

/* ssh never asks: its own question would wait for a terminal that is not there. */
static void ssh_command(struct mk_buf *ret)
{
	const char *own = getenv("GIT_SSH_COMMAND"), *program = getenv("GIT_SSH");
	git_config *config = NULL;
	git_buf value = {0};

	if (!own && !program && git_config_open_default(&config) == 0 &&
	    git_config_get_string_buf(&value, config, "core.sshcommand") == 0)
		own = value.ptr;
	(void)mk_buf_printf(ret, "GIT_SSH_COMMAND=%s -o BatchMode=yes -o ConnectTimeout=10",
			    own	      ? own
			    : program ? program
				      : "ssh");
	git_buf_dispose(&value);
	git_config_free(config);
}

struct command_line {
	struct mk_list args, env;
};

static void command_line_free(struct command_line *line)
{
	mk_list_free(&line->args);
	mk_list_free(&line->env);
}

static int build_environment(struct mk_call *call, struct mk_mirror *mirror,
			     const struct git_command *command, struct mk_list *env)
{
	static const char *const fixed[] = {
		"GIT_*",
		"GIT_TERMINAL_PROMPT=0",
		"GIT_ASKPASS=",
		"SSH_ASKPASS",
		"SSH_ASKPASS_REQUIRE=never",
		"GIT_ALLOW_PROTOCOL=file:git:http:https:ssh",
		"GIT_OPTIONAL_LOCKS=0",
		"GIT_NO_LAZY_FETCH=1",
		"GCM_INTERACTIVE=never",
		"LC_ALL=C",
		"LANGUAGE",
	};
	const struct mk_origin *origin = command->origin;
	_cleanup_buf_ struct mk_buf config = MK_BUF(65536), ssh = MK_BUF(65536);
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(fixed) / sizeof(*fixed); i++)
		r = mk_list_add(env, fixed[i]);
	for (size_t i = 0; r == 0 && i < sizeof(kept) / sizeof(*kept); i++) {
		_cleanup_buf_ struct mk_buf pair = MK_BUF(65536);

		if (!getenv(kept[i]))
			continue;
		(void)mk_buf_printf(&pair, "%s=%s", kept[i], getenv(kept[i]));
		r = mk_list_add(env, mk_buf_text(&pair));
	}
	for (size_t i = 0; r == 0 && command->env && command->env[i]; i++)
		r = mk_list_add(env, command->env[i]);
	if (r == 0 && mirror) {
		r = write_config(call, mirror, origin, &config);
		if (r < 0)
			return r;
		r = mk_list_add(env, mk_buf_text(&config));
	}
	if (r == 0 && origin && origin->host) {
		ssh_command(&ssh);
		r = mk_list_add(env, mk_buf_text(&ssh));
	}
	return r;
}

/*
 * The login is read from descriptor 3, and by git only when the server of the uri itself asks: a
 * redirect, git-lfs or a submodule that leads elsewhere gets what the user's own helpers say. No
 * argument and no variable of the environment holds it, which others could read.
 */
static int add_helper(struct mk_list *args, const struct mk_origin *origin)
{
	_cleanup_buf_ struct mk_buf none = MK_BUF(8192), helper = MK_BUF(8192);
	_cleanup_free_ char *server = mk_url_origin(origin->uri);
	int r;

	if (!server)
		return 0;
	(void)mk_buf_printf(&none, "credential.%s.helper=", server);
	(void)mk_buf_printf(&helper,
			    "credential.%s.helper=!f() { test \"$1\" = get && cat /dev/fd/3; }; f",
			    server);
	r = mk_buf_check(&helper);
	if (r == 0)
		r = mk_list_add(args, "-c");
	if (r == 0)
		r = mk_list_add(args, mk_buf_text(&none));
	if (r == 0)
		r = mk_list_add(args, "-c");
	if (r == 0)
		r = mk_list_add(args, mk_buf_text(&helper));
	return r;
}

/* What the helper prints, in memory that has no name. 1 and its descriptor, 0: nobody logs in. */
static int open_login(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin,
		      int *ret_fd)
{
	_cleanup_wipe_ struct mk_buf user = MK_BUF_SECRET(MAX_LOGIN);
	_cleanup_wipe_ struct mk_buf password = MK_BUF_SECRET(MAX_LOGIN), text = MK_BUF_SECRET(MAX_LOGIN);
	_cleanup_close_ int fd = -1;
	int r;

	if (!origin || strncmp(origin->uri, "http", 4) != 0)
		return 0;
	if (origin->password) {
		(void)mk_buf_puts(&user, origin->user);
		(void)mk_buf_puts(&password, origin->password);
	} else {
		if (!mirror || !mirror->git->login)
			return 0;
		r = mirror->git->login(call, mirror->git->login_arg, origin, &user, &password);
		if (r <= 0)
			return r < 0 ? mk_prefix(call, r, "%s", origin->label) : 0;
	}
	if (strpbrk(mk_buf_text(&user), "\r\n") || strpbrk(mk_buf_text(&password), "\r\n"))
		return mk_fail(call, EINVAL, "%s: git takes no login of more than one line",
			       origin->label);
	(void)mk_buf_printf(&text, "username=%s\n", user.len ? mk_buf_text(&user) : "oauth2");
	(void)mk_buf_puts(&text, "password=");
	(void)mk_buf_put(&text, password.data, password.len);
	(void)mk_buf_putc(&text, '\n');
	if (mk_buf_check(&text) < 0)
		return mk_fail(call, EFBIG, "%s: the login is too long", origin->label);
	fd = memfd_create("login", MFD_CLOEXEC);
	if (fd < 0 || write(fd, text.data, text.len) != (ssize_t)text.len)
		return mk_fail(call, errno, "%s: %s", origin->label, strerror(errno));
	*ret_fd = fcntl(fd, F_DUPFD_CLOEXEC, 4); /* above where it goes: dup2 of the same clears nothing */
	return *ret_fd < 0 ? mk_fail(call, errno, "%s: %s", origin->label, strerror(errno)) : 1;
}

static int build_arguments(struct mk_mirror *mirror, const struct git_command *command,
			   bool has_login, struct mk_list *args)
{
	_cleanup_buf_ struct mk_buf dir = MK_BUF(65536), speed = MK_BUF(100);
	int r = mk_list_add(args, "git");

	if (r == 0 && mirror) {
		(void)mk_buf_printf(&dir, "--git-dir=%s", mirror->path);
		(void)mk_buf_printf(&speed, "http.lowSpeedTime=%lld",
				    (long long)((mirror->git->timeout + MK_SEC - 1) / MK_SEC));
		r = mk_list_add(args, mk_buf_text(&dir));
		if (r == 0)
			r = mk_list_add(args, "-c");
		if (r == 0)
			r = mk_list_add(args, mk_buf_text(&speed));
	}
	for (size_t i = 0; r == 0 && i < sizeof(settings) / sizeof(*settings); i++) {
		r = mk_list_add(args, "-c");
		if (r == 0)
			r = mk_list_add(args, settings[i]);
	}
	if (r == 0 && has_login)
		r = add_helper(args, command->origin);
	for (size_t i = 0; r == 0 && command->args[i]; i++)
		r = mk_list_add(args, command->args[i]);
	return r;
}

static const char **terminated(const struct mk_list *list)
{
	const char **v = mk_alloc((list->n + 1) * sizeof(*v));

	for (size_t i = 0; i < list->n; i++)
		v[i] = list->v[i];
	return v;
}

int git_run(struct mk_call *call, struct mk_mirror *mirror, const struct git_command *command)
{
	_cleanup_(command_line_free) struct command_line line = {};
	_cleanup_close_ int login = -1;
	int r;

	if (command->origin) {
		r = mk_call_may_wait(call, command->origin->lane);
		if (r < 0)
			return r;
	}
	if (command->origin && command->origin->path) {
		_cleanup_free_ char *real = NULL;

		r = mk_path_resolve(call, command->origin->path, &real);
		if (r < 0)
			return mk_prefix(call, r, "%s", command->origin->label);
	}
	r = open_login(call, mirror, command->origin, &login);
	if (r < 0)
		return r;
	r = build_arguments(mirror, command, r > 0, &line.args);
	if (r == 0)
		r = build_environment(call, mirror, command, &line.env);
	if (r < 0)
		return call->error.code == -r ? r : mk_fail(call, -r, "git: %s", strerror(-r));

	_cleanup_free_ const char **argv = terminated(&line.args);
	_cleanup_free_ const char **env = terminated(&line.env);

	r = mk_exec_run(call, &(struct mk_exec){
				      .remote = command->origin ? command->origin->lane : NULL,
				      .argv = argv,
				      .env = env,
				      .dir = command->dir ? command->dir : "/",
				      .input = command->input,
				      .input_len = command->input_len,
				      .out = command->out,
				      .out_fd = command->out_fd,
				      .pass_fd = login,
				      .idle = command->idle,
				      .started = command->started,
				      .started_arg = command->started_arg,
			      });
	if (r == 0 || r == MK_PUNT || r == -EINTR || r == -ENOENT)
		return r;
	return explain(call, command, r);
}

void mk_remote_refs_free(struct mk_remote_refs *refs)
{
	for (size_t i = 0; i < refs->n; i++)
		free(refs->v[i].name);
	free(refs->v);
	free(refs->head);
	*refs = (struct mk_remote_refs){};
}

static int add_ref(struct mk_call *call, struct mk_remote_refs *refs, const char *name,
		   const char *hash)
{
	struct mk_oid oid;
	char text[41];

	(void)snprintf(text, sizeof(text), "%.40s", hash);
	if (mk_oid_parse(text, &oid) < 0)
		return mk_fail(call, EREMOTEIO, "the remote's list of refs cannot be read");
	if (refs->n == refs->cap) {
		size_t cap = refs->cap ? refs->cap * 2 : 64;
		void *v = realloc(refs->v, cap * sizeof(*refs->v));

		if (!v)
			return mk_fail(call, ENOMEM, "%zu refs: out of memory", refs->n);
		refs->v = v;
		refs->cap = cap;
	}
	refs->v[refs->n++] = (struct mk_remote_ref){.name = mk_strdup(name), .oid = oid};
	return 0;
}

static int compare_refs(const void *a, const void *b)
{
	return strcmp(((const struct mk_remote_ref *)a)->name,
		      ((const struct mk_remote_ref *)b)->name);
}

/* `<40 hex>\trefs/heads/x`, `ref: refs/heads/main\tHEAD`; peeled tags (`^{}`) are left out. */
static int parse_refs(struct mk_call *call, char *text, struct mk_remote_refs *refs)
{
	for (char *line = text, *next; line && *line; line = next) {
		next = strchr(line, '\n');
		if (next)
			*next++ = 0;

		char *tab = strchr(line, '\t');

		if (!tab)
			continue;
		*tab++ = 0;
		if (strncmp(line, "ref: refs/heads/", 16) == 0 && strcmp(tab, "HEAD") == 0) {
			free(refs->head);
			refs->head = mk_strdup(line + 16);
			continue;
		}

		size_t n = strlen(tab);

		if ((strncmp(tab, "refs/heads/", 11) != 0 && strncmp(tab, "refs/tags/", 10) != 0) ||
		    (n > 3 && strcmp(tab + n - 3, "^{}") == 0))
			continue;

		int r = add_ref(call, refs, tab, line);
		if (r < 0)
			return r;
	}
	if (refs->n)
		qsort(refs->v, refs->n, sizeof(*refs->v), compare_refs);
	return 0;
}

int mk_remote_ask(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin,
		  bool head, struct mk_remote_refs *ret)
{
	const char *const all[] = {"ls-remote", "--symref", "--", origin->uri, NULL};
	/* A forge has far more refs than branches: leave them out where HEAD is known. */
	const char *const some[] = {"ls-remote", "--heads", "--tags", "--", origin->uri, NULL};
	_cleanup_buf_ struct mk_buf out = MK_BUF(MAX_REFS_TEXT);
	_cleanup_(mk_remote_refs_free) struct mk_remote_refs refs = {.asked_head = head};
	int r = git_run(call, mirror,
			&(struct git_command){
				.origin = origin,
				.args = head ? all : some,
				.out = &out,
				.idle = mirror->git->timeout,
			});

	if (r < 0)
		return r;
	r = out.len ? parse_refs(call, out.data, &refs) : 0;
	if (r < 0)
		return mk_prefix(call, r, "%s: %s", origin->label, origin->shown);
	*ret = refs;
	refs = (struct mk_remote_refs){};
	return 0;
}

static int fetch(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin,
		 const char *const *args)
{
	_cleanup_lock_ struct git_lock lock = {.fd = -1};
	int r = git_lock_take(call, mirror, &lock);

	if (r < 0)
		return mk_prefix(call, r, "%s", origin->label);
	/* Progress keeps it from counting as silent. */
	return git_run(call, mirror,
		       &(struct git_command){
			       .origin = origin,
			       .args = args,
			       .idle = mirror->git->timeout,
			       .started = git_lock_pid,
			       .started_arg = &lock,
		       });
}

int mk_remote_fetch(struct mk_call *call, struct mk_mirror *mirror, const struct mk_origin *origin)
{
	const char *const args[] = {"fetch",
				    "--progress",
				    "--prune",
				    "--no-tags",
				    "--no-write-fetch-head",
				    "--no-auto-maintenance",
				    "--no-recurse-submodules",
				    "--update-shallow",
				    "--",
				    origin->uri,
				    "+refs/heads/*:refs/heads/*",
				    "+refs/tags/*:refs/tags/*",
				    NULL};

	return fetch(call, mirror, origin, args);
}

int mk_remote_fetch_commit(struct mk_call *call, struct mk_mirror *mirror,
			   const struct mk_origin *origin, const struct mk_oid *commit)
{
	char hash[41];
	const char *const args[] = {"fetch",
				    "--progress",
				    "--no-tags",
				    "--no-write-fetch-head",
				    "--no-auto-maintenance",
				    "--no-recurse-submodules",
				    "--update-shallow",
				    "--",
				    origin->uri,
				    hash,
				    NULL};

	mk_oid_text(commit, hash);
	return fetch(call, mirror, origin, args);
}
