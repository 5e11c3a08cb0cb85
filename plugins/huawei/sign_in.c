#include "sign_in.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/utc.h"

#define HOUR_SIZE sizeof("2026031509")
#define DIGEST_SIZE 32

/* The hour of @now_us in UTC, whatever the time zone of the process. */
static int put_hour(int64_t now_us, char out[HOUR_SIZE])
{
	struct fg_utc utc;

	if (!fg_utc_of(now_us, &utc))
		return -EINVAL;
	snprintf(out, HOUR_SIZE, "%04u%02u%02u%02u", utc.year % 10000, utc.month % 100,
		 utc.day % 100, utc.hour % 100);
	return 0;
}

static const char *hash_of(enum hw_sign_type sign_type)
{
	return sign_type == HW_SIGN_SM3 ? "SM3" : "SHA256";
}

bool hw_sign_in_can(enum hw_sign_type sign_type)
{
	EVP_MD *hash = EVP_MD_fetch(NULL, hash_of(sign_type), NULL);

	EVP_MD_free(hash);
	return hash;
}

/* The digest is bytes, zero bytes among them: it is never handled as a string. */
static int put_password(const struct hw_account *account, const char *hour, char *out)
{
	unsigned char digest[DIGEST_SIZE];
	size_t n = 0;

	if (!EVP_Q_mac(NULL, "HMAC", NULL, hash_of(account->sign_type), NULL, hour, strlen(hour),
		       (const unsigned char *)account->secret, strlen(account->secret), digest,
		       sizeof(digest), &n) ||
	    n != sizeof(digest))
		return -EIO;
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	OPENSSL_cleanse(digest, sizeof(digest));
	return 0;
}

int hw_sign_in_make(const struct hw_account *account, int64_t now_us, struct hw_sign_in *ret)
{
	char hour[HOUR_SIZE];
	int r;

	if (strlen(account->id) > HW_DEVICE_ID_MAX)
		return -EINVAL;
	r = put_hour(now_us, hour);
	if (r < 0)
		return r;
	ret->password[0] = 0;
	if (account->secret) {
		r = put_password(account, hour, ret->password);
		if (r < 0)
			return r;
	}
	snprintf(ret->client_id, sizeof(ret->client_id), "%s_%d_%d_%s", account->id,
		 account->is_bridge ? 3 : 0, account->sign_type, hour);
	return 0;
}

void hw_sign_in_wipe(struct hw_sign_in *sign_in)
{
	OPENSSL_cleanse(sign_in, sizeof(*sign_in));
}
