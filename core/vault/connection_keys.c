/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys of connections/<name>.yaml, kind by kind: one table that drives reading, the manual
 * mantik.yaml(5) and its test. To add a kind, write its table and name it in `kinds`; to add a key,
 * write its row and, if a connector is to see it, its field.
 *
 * Errors name file, line and key, never a value: what stands there may be a secret in the wrong
 * place, and errors are kept.
 */
#include "vault/credentials.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#include <mantik/name.h>

#include "base/doc.h"
#include "base/file.h"
#include "net/url_local.h"

#define KEY(name_, type_, help_)                                             \
	{                                                                    \
		.name = name_, .type = MK_CONNECTION_##type_, .help = help_, \
	}
#define NEEDED(name_, type_, help_)                                                          \
	{                                                                                    \
		.name = name_, .type = MK_CONNECTION_##type_, .needed = true, .help = help_, \
	}
#define LOGIN_KEYS                                                                                 \
	KEY("password", SECRET, "of user; mantikctl login asks for it"),                           \
		KEY("token", SECRET, "instead of a password"),                                     \
		KEY("token_file", PATH,                                                            \
		    "a file that holds the token in its first line, read each time it is needed"), \
		KEY("token_command", COMMAND,                                                      \
		    "a program that prints the token within 10 s, with its arguments as a list; "  \
		    "run once, and again when the token was refused")

static const struct mk_connection_key mlflow[] = {
	NEEDED("kind", TEXT, "mlflow: a tracking server"),
	NEEDED("url", URL,
	       "address of the server, with its static prefix if it has one; or a store of this "
	       "machine: file:///path/mlruns, sqlite:////path/mlflow.db"),
	KEY("user", TEXT, "who logs in with a password"),
	LOGIN_KEYS,
	KEY("ca", PATH, "PEM file of the authorities to trust instead of the system's"),
	KEY("client_cert", PATH,
	    "PEM file of a client certificate, with its key or with client_key"),
	KEY("client_key", PATH, "PEM file of its key"),
	KEY("workspace", TEXT, "workspace to be in; only for servers that have workspaces"),
};

static const struct mk_connection_key git[] = {
	NEEDED("kind", TEXT, "git: how to log in where repositories come from"),
	NEEDED("url", URL,
	       "what the addresses of the repositories begin with, https://gitlab.example.org say"),
	KEY("user", TEXT, "who logs in; may be left out with a token"),
	LOGIN_KEYS,
};

static const struct {
	const char *name;
	const struct mk_connection_key *keys;
	size_t n;
} kinds[] = {
	{"mlflow", mlflow, sizeof(mlflow) / sizeof(*mlflow)},
	{"git", git, sizeof(git) / sizeof(*git)},
};
enum { N_KINDS = sizeof(kinds) / sizeof(*kinds) };

/* Where texts and paths go. */
static const struct {
	const char *key;
	size_t at;
} fields[] = {
	{"kind", offsetof(struct mk_credentials, kind)},
	{"url", offsetof(struct mk_credentials, url)},
	{"user", offsetof(struct mk_credentials, user)},
	{"workspace", offsetof(struct mk_credentials, workspace)},
	{"ca", offsetof(struct mk_credentials, ca)},
	{"client_cert", offsetof(struct mk_credentials, client_cert)},
	{"client_key", offsetof(struct mk_credentials, client_key)},
	{"token_file", offsetof(struct mk_credentials, token_file)},
};

const char *mk_connection_kind(size_t i)
{
	return i < N_KINDS ? kinds[i].name : NULL;
}

const struct mk_connection_key *mk_connection_keys(const char *kind, size_t *ret_n)
{
	for (size_t i = 0; i < N_KINDS; i++)
		if (strcmp(kinds[i].name, kind) == 0) {
			*ret_n = kinds[i].n;
			return kinds[i].keys;
		}
	return NULL;
}

static char **field(struct mk_credentials *c, const char *key)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++)
		if (strcmp(fields[i].key, key) == 0)
			return (char **)((char *)c + fields[i].at);
	return NULL;
}

/* --- values ------------------------------------------------------------------------------- */

static bool has_control(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	return false;
}

static int take_url(struct mk_call *call, const char *where, const struct mk_doc *at,
		    const char *text, struct mk_credentials *c)
{
	/* Said here without the text: what stands before an @ is a secret. */
	if (strchr(text, '@'))
		return mk_doc_fail(
			call, where, at,
			"url: has a user or password in it; write the url without what "
			"stands before the @, and `user: …` and `password: …` on lines of "
			"their own");
	if (strpbrk(text, "?#"))
		return mk_doc_fail(call, where, at, "url: must end before its %s",
				   strchr(text, '#') ? "#" : "?");

	if (strcmp(c->kind, "mlflow") == 0 && mk_url_is_local(text)) {
		if (mk_url_local(call, text, &c->url) < 0)
			return mk_doc_fail(call, where, at,
					   "url: is no address like file:///home/me/mlruns or "
					   "sqlite:////home/me/mlflow.db");
		c->origin = mk_strdup("file://");
		return 0;
	}

	/* Its sentences repeat the text: a password may stand here by mistake. */
	if (mk_url_base(call, text, &c->url) < 0)
		return mk_doc_fail(call, where, at,
				   "url: is no address like https://host:port/prefix");
	c->origin = mk_url_origin(c->url);
	return c->origin ? 0 : mk_doc_fail(call, where, at, "url: names no server");
}

static int take_path(struct mk_call *call, const char *where, const struct mk_doc *at,
		     const char *key, const char *text, char **ret)
{
	const char *home = getenv("HOME");

	if (strncmp(text, "~/", 2) == 0 && home && *home == '/')
		*ret = mk_strf("%s%s", home, text + 1);
	else if (*text == '/')
		*ret = mk_strdup(text);
	else
		return mk_doc_fail(call, where, at, "%s: is no absolute path", key);
	return 0;
}

/* A secret may be any text; what looks like none, or is none by an accident of YAML, is refused. */
static int take_secret(struct mk_call *call, const char *where, const struct mk_doc *at,
		       const char *key, struct mk_credentials *c, const char **plain)
{
	if (at->type == MK_DOC_NULL && !*at->text && at->begin == at->end)
		return 0; /* `password:` */
	if (at->type == MK_DOC_NULL)
		return mk_doc_fail(call, where, at, "%s: put it between quotes: '…'", key);
	if (at->type != MK_DOC_SCALAR)
		return mk_doc_fail(call, where, at, "%s: must be a text", key);
	if (!*at->text)
		return mk_doc_fail(call, where, at,
				   "%s: is empty; leave the line out to have none set", key);
	if (strcmp(key, "token") == 0 && has_control(at->text))
		return mk_doc_fail(call, where, at, "%s: is more than one line", key);
	if (strcmp(key, "password") == 0)
		c->has_password = true;
	else
		c->has_token = true;
	if (strcmp(at->text, "(set)") != 0 && !*plain)
		*plain = key;
	return 0;
}

static int take_command(struct mk_call *call, const char *where, struct mk_doc *doc,
			const struct mk_doc *at, const char *key, struct mk_list *ret)
{
	int r = mk_doc_texts(call, where, doc, key, ret);

	if (r < 0)
		return r;
	if (!ret->n || !*ret->v[0])
		return mk_doc_fail(call, where, at, "%s: names no program", key);
	if (at->type == MK_DOC_SCALAR && strpbrk(ret->v[0], " \t"))
		return mk_doc_fail(
			call, where, at,
			"%s: write the program and its arguments as a list: [pass, show, "
			"mlflow]",
			key);
	return 0;
}

static int take(struct mk_call *call, const char *where, struct mk_doc *doc,
		const struct mk_connection_key *key, struct mk_credentials *c, const char **plain)
{
	struct mk_doc *at = mk_doc_get(doc, key->name);
	const char *text = NULL;
	char **to = field(c, key->name);
	int r;

	if (at && key->type == MK_CONNECTION_SECRET)
		return take_secret(call, where, at, key->name, c, plain);
	if (at && key->type == MK_CONNECTION_COMMAND && at->type != MK_DOC_NULL)
		return take_command(call, where, doc, at, key->name, &c->token_command);
	if (key->type == MK_CONNECTION_COMMAND || key->type == MK_CONNECTION_SECRET)
		return 0;
	r = mk_doc_text(call, where, doc, key->name, &text);
	if (r < 0)
		return r;
	if (r == 0 || !*text)
		return key->needed ? mk_doc_fail(call, where, at ? at : NULL, "%s: is missing: %s",
						 key->name, key->help)
				   : 0;
	if (has_control(text))
		return mk_doc_fail(call, where, at, "%s: is more than one line", key->name);
	if (key->type == MK_CONNECTION_URL)
		return take_url(call, where, at, text, c);
	if (key->type == MK_CONNECTION_PATH)
		return take_path(call, where, at, key->name, text, to);
	free(*to);
	*to = mk_strdup(text);
	return 0;
}

/* --- the whole ---------------------------------------------------------------------------- */

static int find_kind(struct mk_call *call, const char *where, struct mk_doc *doc,
		     const struct mk_connection_key **ret, size_t *ret_n)
{
	_cleanup_list_ struct mk_list names = {};
	_cleanup_buf_ struct mk_buf list = MK_BUF(1000);
	const char *kind = NULL;
	int r = mk_doc_text(call, where, doc, "kind", &kind);

	if (r < 0)
		return r;
	for (size_t i = 0; i < N_KINDS; i++) {
		(void)!mk_list_add(&names, kinds[i].name);
		(void)mk_buf_printf(&list, "%s%s", i ? ", " : "", kinds[i].name);
	}
	if (r == 0)
		return mk_doc_fail(call, where, NULL, "kind: is missing: one of %s",
				   mk_buf_text(&list));
	*ret = mk_connection_keys(kind, ret_n);
	if (*ret)
		return 0;

	const char *nearest = mk_nearest(kind, &names);

	return mk_doc_fail(call, where, mk_doc_get(doc, "kind"),
			   "kind: no such kind%s%s%s: one of %s",
			   nearest ? ", did you mean \"" : "", nearest ? nearest : "",
			   nearest ? "\"?" : "", mk_buf_text(&list));
}

/* What goes together and what does not. */
static int check(struct mk_call *call, const char *where, struct mk_doc *doc,
		 const struct mk_credentials *c)
{
	const struct {
		const char *key;
		bool given;
	} ways[] = {
		{"password", c->has_password},
		{"token", c->has_token},
		{"token_file", c->token_file},
		{"token_command", c->token_command.n},
	};
	const char *first = NULL;

	if (mk_url_is_local(c->url)) {
		for (size_t i = 0; i < doc->n; i++)
			if (strcmp(doc->keys[i]->text, "kind") != 0 &&
			    strcmp(doc->keys[i]->text, "url") != 0 &&
			    (strcmp(doc->keys[i]->text, "workspace") != 0 ||
			     !mk_url_is_sqlite(c->url)))
				return mk_doc_fail(call, where, doc->keys[i],
						   "%s: a store that is a file of this machine needs "
						   "none", doc->keys[i]->text);
		return 0;
	}
	for (size_t i = 0; i < sizeof(ways) / sizeof(*ways); i++) {
		if (!ways[i].given)
			continue;
		if (first)
			return mk_doc_fail(call, where, mk_doc_get(doc, ways[i].key),
					   "%s: there is a %s already; one of the two", ways[i].key,
					   first);
		first = ways[i].key;
	}
	if (c->has_password && !c->user)
		return mk_doc_fail(call, where, mk_doc_get(doc, "password"),
				   "password: whose? `user: …` is missing");
	if (c->user && strchr(c->user, ':'))
		return mk_doc_fail(call, where, mk_doc_get(doc, "user"),
				   "user: cannot hold a colon");
	if (c->client_key && !c->client_cert)
		return mk_doc_fail(call, where, mk_doc_get(doc, "client_key"),
				   "client_key: needs client_cert");
	return 0;
}

int mk_credentials_parse(struct mk_call *call, const char *where, struct mk_doc *doc,
			 struct mk_credentials **ret, const char **ret_plain)
{
	_cleanup_(mk_credentials_freep) struct mk_credentials *c = mk_new(struct mk_credentials);
	const struct mk_connection_key *keys = NULL;
	const char *plain = NULL;
	size_t n = 0;
	int r;

	if (doc->type != MK_DOC_MAP)
		return mk_doc_fail(call, where, NULL,
				   "must be `key: value` lines, kind and url first");
	r = find_kind(call, where, doc, &keys, &n);
	/* An unknown key first: `pasword: x` is not a password that is missing. */
	for (size_t i = 0; i < n; i++)
		(void)mk_doc_get(doc, keys[i].name);
	if (r == 0)
		r = mk_doc_leftover(call, where, doc);
	for (size_t i = 0; r == 0 && i < n; i++)
		r = take(call, where, doc, &keys[i], c, &plain);
	if (r == 0)
		r = check(call, where, doc, c);
	if (r < 0)
		return r;
	*ret = mk_steal(&c);
	*ret_plain = plain;
	return 0;
}

int mk_connection_name_check(struct mk_call *call, const char *name)
{
	_cleanup_buf_ struct mk_buf entry = MK_BUF(4096);
	size_t len = strlen(name);

	(void)mk_name_escape(&entry, name, len);
	if (len == 0 || len > 100 || strcmp(mk_buf_text(&entry), name) != 0 || name[0] == '-' ||
	    strchr(name, ':') || strchr(name, '%') || has_control(name))
		return mk_fail(
			call, EINVAL,
			"a connection's name has 1 to 100 letters, digits and . _ - @, and begins "
			"with none of . and -");
	return 0;
}
