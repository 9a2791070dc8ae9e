/* SPDX-License-Identifier: Apache-2.0 */
/* Hashes, by libcrypto. */
#include "base/hash.h"

#include <stdlib.h>

#include <openssl/evp.h>

void mk_sha256_hex(const void *data, size_t len, char out[65])
{
	static const char digits[] = "0123456789abcdef";
	unsigned char sum[EVP_MAX_MD_SIZE];
	unsigned int n = 0;

	/* Fails only without memory or without the algorithm: nothing can be named then. */
	if (!EVP_Digest(data, len, sum, &n, EVP_sha256(), NULL) || n != 32)
		abort();
	for (size_t i = 0; i < 32; i++) {
		out[2 * i] = digits[sum[i] >> 4];
		out[2 * i + 1] = digits[sum[i] & 15];
	}
	out[64] = 0;
}
