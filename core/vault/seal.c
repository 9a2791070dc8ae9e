/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sealed file: bytes in, bytes out, no disk and no keys of its own.
 *
 *	offset  size
 *	     0     8   "MKVAULT1"
 *	     8     1   cost of scrypt (log2 N), 0: the key comes from the key file
 *	     9    16   salt of scrypt, kept as long as the passphrase is
 *	    25    16   salt, new each time: the text's key is HKDF-SHA256(key, salt)
 *	    41    12   nonce, new each time
 *	    53     n   the text, AES-256-GCM; all before it is authenticated with it
 *	  53+n    16   tag
 *	  69+n    32   SHA-256 of all before it
 *
 * The digest at the end protects nothing; it tells a damaged file from a wrong passphrase, so that
 * the one who reads the error knows which of the two to look for.
 */
#include <errno.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <openssl/rand.h>

#include "vault/internal.h"

enum {
	AT_COST = 8,
	AT_KDF_SALT = 9,
	AT_SALT = 25,
	AT_NONCE = 41,
	HEADER = 53,
	TAG = 16,
	DIGEST = 32,
};

static const char magic[] = "MKVAULT1";

static int fail(struct mk_call *call, const char *what)
{
	return mk_fail(call, EIO, "vault: %s", what);
}

static int digest(struct mk_call *call, const void *data, size_t len, unsigned char ret[DIGEST])
{
	return EVP_Digest(data, len, ret, NULL, EVP_sha256(), NULL) == 1 ? 0
									 : fail(call, "SHA-256");
}

/* The key of this one text. */
static int derive(struct mk_call *call, const unsigned char key[VAULT_KEY],
		  const unsigned char *salt, unsigned char ret[VAULT_KEY])
{
	static char sha256[] = "SHA256", info[] = "mantik vault 1";
	const OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string("digest", sha256, 0),
		OSSL_PARAM_construct_octet_string("key", (void *)key, VAULT_KEY),
		OSSL_PARAM_construct_octet_string("salt", (void *)salt, VAULT_SALT),
		OSSL_PARAM_construct_octet_string("info", info, sizeof(info) - 1),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool done = ctx && EVP_KDF_derive(ctx, ret, VAULT_KEY, params) == 1;

	EVP_KDF_CTX_free(ctx);
	EVP_KDF_free(kdf);
	return done ? 0 : fail(call, "HKDF");
}

int vault_look(struct mk_call *call, const char *path, const struct mk_buf *sealed,
	       struct vault_lock *ret)
{
	const unsigned char *data = (const unsigned char *)mk_buf_text(sealed);
	unsigned char sum[DIGEST];

	if (sealed->len < HEADER + TAG + DIGEST || memcmp(data, magic, AT_COST) != 0)
		return mk_fail(
			call, EUCLEAN,
			"%s: is damaged (%zu bytes%s); put it back from a backup, or move it "
			"away and set the secrets again with mantikctl login",
			path, sealed->len, sealed->len < HEADER + TAG + DIGEST ? "" : ", no vault");

	int r = digest(call, data, sealed->len - DIGEST, sum);

	if (r < 0)
		return r;
	if (CRYPTO_memcmp(sum, data + sealed->len - DIGEST, DIGEST) != 0)
		return mk_fail(
			call, EUCLEAN,
			"%s: is damaged (its digest does not fit); put it back from a backup, "
			"or move it away and set the secrets again with mantikctl login",
			path);
	if (data[AT_COST] && (data[AT_COST] < VAULT_COST_MIN || data[AT_COST] > VAULT_COST_MAX))
		return mk_fail(call, EUCLEAN, "%s: is damaged, or of a newer version", path);
	ret->cost = data[AT_COST];
	memcpy(ret->salt, data + AT_KDF_SALT, VAULT_SALT);
	return 0;
}

int vault_unseal(struct mk_call *call, const char *path, const struct mk_buf *sealed,
		 const unsigned char key[VAULT_KEY], struct mk_buf *ret)
{
	const unsigned char *data = (const unsigned char *)mk_buf_text(sealed);
	size_t len = sealed->len - HEADER - TAG - DIGEST;
	unsigned char text_key[VAULT_KEY];
	unsigned char *room = (unsigned char *)mk_buf_room(ret, len);
	int done = 0, n = 0, r = room ? derive(call, key, data + AT_SALT, text_key) : -EFBIG;

	if (r < 0)
		return room ? r
			    : mk_fail(call, EFBIG, "%s: holds more than %zu bytes", path,
				      ret->limit);

	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool good =
		ctx && EVP_DecryptInit_ex2(ctx, EVP_aes_256_gcm(), text_key, data + AT_NONCE, NULL);

	good = good && EVP_DecryptUpdate(ctx, NULL, &n, data, HEADER) &&
	       EVP_DecryptUpdate(ctx, room, &done, data + HEADER, (int)len) &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, TAG, (void *)(data + HEADER + len)) &&
	       EVP_DecryptFinal_ex(ctx, room + done, &n) && (size_t)(done + n) == len;
	EVP_CIPHER_CTX_free(ctx);
	OPENSSL_cleanse(text_key, sizeof(text_key));
	if (!good) {
		OPENSSL_cleanse(room, len);
		return mk_fail(call, EKEYREJECTED,
			       data[AT_COST]
				       ? "%s: the passphrase is wrong"
				       : "%s: vault.key beside it is not its key; put the right "
					 "one back, or move both away and set the secrets again "
					 "with mantikctl login",
			       path);
	}
	ret->len += len;
	return 0;
}

int vault_seal(struct mk_call *call, const struct vault_lock *lock,
	       const unsigned char key[VAULT_KEY], const struct mk_buf *text, struct mk_buf *ret)
{
	unsigned char text_key[VAULT_KEY];
	unsigned char *data = (unsigned char *)mk_buf_room(ret, HEADER + text->len + TAG + DIGEST);
	int done = 0, n = 0;

	if (!data)
		return mk_fail(call, EFBIG, "vault: more than %zu bytes", ret->limit);
	memcpy(data, magic, AT_COST);
	data[AT_COST] = (unsigned char)lock->cost;
	memcpy(data + AT_KDF_SALT, lock->salt, VAULT_SALT);
	if (RAND_bytes(data + AT_SALT, HEADER - AT_SALT) != 1)
		return fail(call, "no random bytes");

	int r = derive(call, key, data + AT_SALT, text_key);

	if (r < 0)
		return r;

	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	bool good =
		ctx && EVP_EncryptInit_ex2(ctx, EVP_aes_256_gcm(), text_key, data + AT_NONCE, NULL);

	good = good && EVP_EncryptUpdate(ctx, NULL, &n, data, HEADER) &&
	       EVP_EncryptUpdate(ctx, data + HEADER, &done,
				 (const unsigned char *)mk_buf_text(text), (int)text->len) &&
	       EVP_EncryptFinal_ex(ctx, data + HEADER + done, &n) &&
	       (size_t)(done + n) == text->len &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, TAG, data + HEADER + text->len);
	EVP_CIPHER_CTX_free(ctx);
	OPENSSL_cleanse(text_key, sizeof(text_key));
	if (!good)
		return fail(call, "AES-256-GCM");
	r = digest(call, data, HEADER + text->len + TAG, data + HEADER + text->len + TAG);
	if (r == 0)
		ret->len += HEADER + text->len + TAG + DIGEST;
	return r;
}
