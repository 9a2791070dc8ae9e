/* SPDX-License-Identifier: Apache-2.0 */
/* Acting for connectors: who asks, put into words for the one server it is meant for. */
#include "vault/credentials.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/doc.h"
#include "base/file.h"
#include "core.h"
#include "net/exec.h"
#include "vault/vault.h"

enum { MAX_FILE = 1 << 16, MAX_SECRET = 1 << 17, COMMAND_WAIT_S = 10 };

struct mk_token {
	pthread_mutex_t lock; /* protects text; held for memory only */
	struct mk_buf text;   /* what token_command gave last; empty: it was not run yet */
};

void mk_credentials_free(struct mk_credentials *c)
{
	if (!c)
		return;
	free(c->name);
	free(c->kind);
	free(c->url);
	free(c->origin);
	free(c->user);
	free(c->workspace);
	free(c->ca);
	free(c->client_cert);
	free(c->client_key);
	free(c->token_file);
	mk_list_free(&c->token_command);
	if (c->token) {
		mk_buf_wipe(&c->token->text);
		pthread_mutex_destroy(&c->token->lock);
		free(c->token);
	}
	free(c);
}

/* --- the file ----------------------------------------------------------------------------- */

static char *path_of(const struct mantik *m, const char *name)
{
	return mk_strf("%s/connections/%s.yaml", m->config_dir, name);
}

int mk_credentials_open(struct mk_call *call, struct mantik *m, const char *name,
			struct mk_credentials **ret)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
	_cleanup_(mk_doc_freep) struct mk_doc *doc = NULL;
	_cleanup_wipe_ struct mk_buf text = MK_BUF_SECRET(MAX_FILE);
	_cleanup_free_ char *path = path_of(m, name), *where = mk_strf("connections/%s.yaml", name);
	uint64_t generation = mk_credentials_generation(m, name);
	const char *plain = NULL;
	int r = mk_connection_name_check(call, name);

	if (r == 0)
		r = mk_file_read(call, AT_FDCWD, path, &text);
	if (r == -ENOENT || r == -ENOTDIR)
		return mk_fail(call, ENOENT, "there is no connection %s", name);
	if (r == 0 && mk_doc_parse(call, where, mk_buf_text(&text), text.len, &doc) < 0)
		/* The parser's sentence may repeat a piece of it: only who writes it is told. */
		return mk_fail(call, EINVAL, "%s: is not YAML; saving it in the mount says where",
			       where);
	if (r == 0)
		r = mk_credentials_parse(call, where, doc, &c, &plain);
	if (r < 0)
		return r;
	if (plain)
		return mk_fail(
			call, ENOKEY,
			"%s: the %s stands there in plain; save the file once in the mount, or "
			"`mantikctl login %s`",
			where, plain, name);
	c->name = mk_strdup(name);
	c->generation = generation;
	c->m = m;
	c->token = mk_new(struct mk_token);
	c->token->text = MK_BUF_SECRET(MAX_SECRET);
	pthread_mutex_init(&c->token->lock, NULL);
	*ret = mk_steal(&c);
	return 0;
}

static void add_stat(struct mk_buf *to, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		(void)mk_buf_printf(to, "%llu %lld.%ld %lld;", (unsigned long long)st.st_ino,
				    (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
				    (long long)st.st_size);
}

uint64_t mk_credentials_generation(struct mantik *m, const char *name)
{
	_cleanup_free_ char *path = path_of(m, name), *vault = mk_strf("%s/vault", m->config_dir);
	_cleanup_buf_ struct mk_buf text = MK_BUF(1000);

	add_stat(&text, path);
	if (!text.len)
		return 0;
	add_stat(&text, vault);
	return mk_ino(mk_buf_text(&text), text.len);
}

void mk_credentials_peer(struct mk_credentials *c, struct mk_http_peer *ret)
{
	*ret = (struct mk_http_peer){
		.remote = c->name,
		.ca_file = c->ca,
		.client_cert = c->client_cert,
		.client_key = c->client_key,
		.auth = mk_credentials_auth,
		.auth_arg = c,
	};
}

/* --- git: which connection a uri belongs to ----------------------------------------------- */

/* `https://host:443/group` of `https://Host/group/x.git`: how much of uri the url is, 0 none. */
static size_t covers(const struct mk_credentials *c, const char *uri)
{
	_cleanup_free_ char *origin = mk_url_origin(uri);
	const char *path = strstr(uri, "://"), *below = strstr(c->url, "://");
	size_t len;

	if (!origin || !path || !below || strcmp(origin, c->origin) != 0)
		return 0;
	path = strchr(path + 3, '/');
	below = strchr(below + 3, '/');
	len = below ? strlen(below) : 0;
	if (len && (!path || strncmp(path, below, len) != 0 || (path[len] && path[len] != '/')))
		return 0;
	return len + 1;
}

static int named_for_git(struct mk_call *call, struct mantik *m, const char *uri, const char *name,
			 struct mk_credentials **ret)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
	int r = mk_credentials_open(call, m, name, &c);

	if (r < 0)
		return r;
	if (strcmp(c->kind, "git") != 0)
		return mk_fail(call, EINVAL, "connection %s is of kind %s, not git", name, c->kind);
	if (!covers(c, uri))
		return mk_fail(call, EINVAL, "connection %s is for %s, the uri lies elsewhere",
			       name, c->url);
	*ret = mk_steal(&c);
	return 1;
}

int mk_credentials_for_git(struct mk_call *call, struct mantik *m, const char *uri,
			   const char *name, struct mk_credentials **ret)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *best = NULL;
	_cleanup_free_ char *path = mk_strf("%s/connections", m->config_dir);
	size_t most = 0;
	DIR *dir;

	if (name && *name)
		return named_for_git(call, m, uri, name, ret);
	dir = opendir(path);
	for (struct dirent *e; dir && (e = readdir(dir));) {
		_cleanup_(mk_credentials_freep) struct mk_credentials *c = NULL;
		_cleanup_free_ char *entry = mk_strdup(e->d_name);
		char *dot = strrchr(entry, '.');
		size_t n;

		if (!dot || dot == entry || strcmp(dot, ".yaml") != 0)
			continue;
		*dot = 0;
		/* One that cannot be understood is no reason to fetch nothing. */
		if (mk_credentials_open(call, m, entry, &c) < 0) {
			mk_error_clear(call);
			continue;
		}
		n = strcmp(c->kind, "git") == 0 ? covers(c, uri) : 0;
		if (n > most || (n && n == most && strcmp(c->name, best->name) < 0)) {
			mk_credentials_free(best);
			best = mk_steal(&c);
			most = n;
		}
	}
	if (dir)
		closedir(dir);
	*ret = mk_steal(&best);
	return most > 0;
}

/* --- secrets, for one use ----------------------------------------------------------------- */

void mk_credentials_bind(struct mk_buf *ret, const char *origin, const char *secret)
{
	(void)mk_buf_puts(ret, origin);
	(void)mk_buf_putc(ret, '\n');
	(void)mk_buf_puts(ret, secret);
}

static int from_vault(struct mk_call *call, struct mk_credentials *c, const char *key,
		      struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf bound = MK_BUF_SECRET(MAX_SECRET);
	int r = mk_vault_use(call, c->m, c->name, key, &bound);

	if (r == -ENOENT)
		return mk_fail(call, ENOKEY,
			       "connections/%s.yaml: no %s is set: `mantikctl login %s`", c->name,
			       key, c->name);
	if (r < 0)
		return mk_prefix(call, r, "connection %s", c->name);

	size_t len = strlen(c->origin);

	if (strncmp(mk_buf_text(&bound), c->origin, len) != 0 || mk_buf_text(&bound)[len] != '\n')
		return mk_fail(call, ENOKEY,
			       "connections/%s.yaml: the %s was set for another server than %s: "
			       "`mantikctl login %s`",
			       c->name, key, c->origin, c->name);
	return mk_buf_puts(ret, mk_buf_text(&bound) + len + 1);
}

/* What a file or a program gave, as a header can hold it: one line without blanks at its ends. */
static int trim(struct mk_call *call, const struct mk_credentials *c, const char *key,
		struct mk_buf *token)
{
	char *text = token->data;
	size_t begin = 0, end = strcspn(mk_buf_text(token), "\r\n");

	while (begin < end && (text[begin] == ' ' || text[begin] == '\t'))
		begin++;
	while (end > begin && (text[end - 1] == ' ' || text[end - 1] == '\t'))
		end--;
	if (begin == end)
		return mk_fail(call, EKEYEXPIRED, "connections/%s.yaml: %s gives no token", c->name,
			       key);
	for (size_t i = begin; i < end; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f)
			return mk_fail(call, EKEYEXPIRED,
				       "connections/%s.yaml: what %s gives is no token", c->name,
				       key);
	memmove(text, text + begin, end - begin);
	mk_buf_truncate(token, end - begin);
	return 0;
}

static int from_file(struct mk_call *call, struct mk_credentials *c, struct mk_buf *ret)
{
	_cleanup_close_ int fd = open(c->token_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	ssize_t n = 0;
	char *room;

	if (fd < 0)
		return mk_fail(call, EKEYEXPIRED, "connections/%s.yaml: token_file %s: %s", c->name,
			       c->token_file, strerror(errno));
	while ((room = mk_buf_room(ret, 4096)) && (n = read(fd, room, 4096)) > 0)
		ret->len += (size_t)n;
	if (!room || n < 0)
		return mk_fail(call, EKEYEXPIRED, "connections/%s.yaml: token_file %s: %s", c->name,
			       c->token_file, room ? strerror(errno) : "is too long for a token");
	(void)mk_buf_puts(ret, ""); /* ends it with a NUL */
	return trim(call, c, "token_file", ret);
}

static int run_command(struct mk_call *call, struct mk_credentials *c, struct mk_buf *ret)
{
	_cleanup_free_ const char **argv = mk_alloc((c->token_command.n + 1) * sizeof(*argv));
	int64_t deadline = call->deadline, until = mk_now_mono() + COMMAND_WAIT_S * MK_SEC;
	int r;

	for (size_t i = 0; i < c->token_command.n; i++)
		argv[i] = c->token_command.v[i];
	if (!call->may_wait)
		return mk_call_may_wait(call, c->name);
	if (!deadline || until < deadline)
		call->deadline = until;
	r = mk_exec_run(call, &(struct mk_exec){.argv = argv, .out = ret});
	call->deadline = deadline;
	if (r == -EREMOTEIO || r == -ENOENT || r == -EFBIG)
		return mk_fail(call, EKEYEXPIRED, "connections/%s.yaml: token_command: %s%s%s",
			       c->name, call->error.text, call->error.detail ? ": " : "",
			       call->error.detail ? call->error.detail : "");
	if (r < 0)
		return mk_prefix(call, r, "connections/%s.yaml: token_command", c->name);
	return trim(call, c, "token_command", ret);
}

static int from_command(struct mk_call *call, struct mk_credentials *c, bool again,
			struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf fresh = MK_BUF_SECRET(MAX_SECRET);
	struct mk_token *token = c->token;
	int r;

	pthread_mutex_lock(&token->lock);
	if (!again)
		(void)mk_buf_put(ret, token->text.data, token->text.len);
	pthread_mutex_unlock(&token->lock);
	if (ret->len)
		return 0;
	r = run_command(call, c, &fresh);
	if (r < 0)
		return r;
	pthread_mutex_lock(&token->lock);
	mk_buf_wipe(&token->text);
	(void)mk_buf_put(&token->text, fresh.data, fresh.len);
	pthread_mutex_unlock(&token->lock);
	return mk_buf_put(ret, fresh.data, fresh.len);
}

static bool has_token(const struct mk_credentials *c)
{
	return c->has_token || c->token_file || c->token_command.n;
}

static int get_token(struct mk_call *call, struct mk_credentials *c, bool again, struct mk_buf *ret)
{
	if (c->has_token)
		return from_vault(call, c, "token", ret);
	if (c->token_file)
		return from_file(call, c, ret);
	return from_command(call, c, again, ret);
}

static int put_basic(struct mk_call *call, struct mk_credentials *c, struct mk_buf *ret)
{
	_cleanup_wipe_ struct mk_buf pair = MK_BUF_SECRET(MAX_SECRET);
	int r = mk_buf_printf(&pair, "%s:", c->user);

	if (r == 0)
		r = from_vault(call, c, "password", &pair);
	if (r == 0)
		r = mk_buf_puts(ret, "Basic ");
	if (r < 0)
		return r;

	size_t len = (pair.len + 2) / 3 * 4;
	char *room = mk_buf_room(ret, len);

	if (!room)
		return mk_buf_check(ret);
	(void)EVP_EncodeBlock((unsigned char *)room, (const unsigned char *)pair.data,
			      (int)pair.len);
	ret->len += len;
	return 0;
}

int mk_credentials_auth(struct mk_call *call, void *arg, const char *origin, bool again,
			struct mk_buf *ret)
{
	struct mk_credentials *c = arg;
	int r = 0;

	if (strcmp(origin, c->origin) != 0)
		return 0;
	ret->secret = true;
	if (c->has_password) {
		r = put_basic(call, c, ret);
	} else if (has_token(c)) {
		_cleanup_wipe_ struct mk_buf token = MK_BUF_SECRET(MAX_SECRET);

		r = get_token(call, c, again, &token);
		if (r == 0)
			r = mk_buf_printf(ret, "Bearer %s", mk_buf_text(&token));
	}
	if (r < 0 && call->error.code != -r && r > -4096)
		return mk_fail(call, -r, "connection %s: %s", c->name, strerror(-r));
	return r;
}

int mk_credentials_login(struct mk_call *call, struct mk_credentials *c, struct mk_buf *user,
			 struct mk_buf *password)
{
	int r;

	if (!c->has_password && !has_token(c))
		return 0;
	user->secret = password->secret = true;
	r = mk_buf_puts(user, c->user ? c->user : "");
	if (r == 0)
		r = c->has_password ? from_vault(call, c, "password", password)
				    : get_token(call, c, false, password);
	return r < 0 ? r : 1;
}
