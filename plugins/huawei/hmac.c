#include "hmac.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>

#define DIGEST_SIZE 32

/* The digest is bytes, zero bytes among them: it is never handled as a string. */
int hw_hmac(const char *hash, struct fg_span key, struct fg_span message, char out[HW_HMAC_SIZE])
{
	unsigned char digest[DIGEST_SIZE];
	size_t n = 0;

	if (!EVP_Q_mac(NULL, "HMAC", NULL, hash, NULL, key.data, key.size,
		       (const unsigned char *)message.data, message.size, digest, sizeof(digest),
		       &n) ||
	    n != sizeof(digest))
		return -EIO;
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	OPENSSL_cleanse(digest, sizeof(digest));
	return 0;
}
