#include "sign_in.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HOUR_SIZE sizeof("2026031509")
#define DIGEST_SIZE 32

/* The hour of @now_us in UTC, whatever the time zone of the process. */
static int put_hour(int64_t now_us, char out[HOUR_SIZE])
{
	time_t seconds = now_us / 1000000;
	struct tm tm;

	if (!gmtime_r(&seconds, &tm) || tm.tm_year + 1900 < 1000 || tm.tm_year + 1900 > 9999)
		return -EINVAL;
	snprintf(out, HOUR_SIZE, "%04u%02u%02u%02u", (unsigned)(tm.tm_year + 1900) % 10000,
		 (unsigned)(tm.tm_mon + 1) % 100, (unsigned)tm.tm_mday % 100,
		 (unsigned)tm.tm_hour % 100);
	return 0;
}

/* The digest is bytes, zero bytes among them: it is never handled as a string. */
static int put_password(const char *hour, const char *secret, char *out)
{
	unsigned char digest[DIGEST_SIZE];
	size_t n = 0;

	if (!EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, hour, strlen(hour),
		       (const unsigned char *)secret, strlen(secret), digest, sizeof(digest), &n) ||
	    n != sizeof(digest))
		return -EIO;
	for (size_t i = 0; i < sizeof(digest); i++)
		snprintf(out + 2 * i, 3, "%02x", digest[i]);
	OPENSSL_cleanse(digest, sizeof(digest));
	return 0;
}

int hw_sign_in_make(const char *device_id, const char *secret, bool is_time_checked, int64_t now_us,
		    struct hw_sign_in *ret)
{
	char hour[HOUR_SIZE];
	int r;

	if (strlen(device_id) > HW_DEVICE_ID_MAX)
		return -EINVAL;
	r = put_hour(now_us, hour);
	if (r < 0)
		return r;
	ret->password[0] = 0;
	if (secret) {
		r = put_password(hour, secret, ret->password);
		if (r < 0)
			return r;
	}
	snprintf(ret->client_id, sizeof(ret->client_id), "%s_0_%d_%s", device_id, is_time_checked,
		 hour);
	return 0;
}

void hw_sign_in_wipe(struct hw_sign_in *sign_in)
{
	OPENSSL_cleanse(sign_in, sizeof(*sign_in));
}
