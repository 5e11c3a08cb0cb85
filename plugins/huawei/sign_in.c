#include "sign_in.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define HOUR_SIZE sizeof("2026031509")

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

int hw_sign_in_make(const struct hw_account *account, int64_t now_us, struct hw_sign_in *ret)
{
	const char *scope_id = account->scope_id ? account->scope_id : "";
	char hour[HOUR_SIZE];
	int r;

	if (strlen(account->id) > HW_DEVICE_ID_MAX || strlen(scope_id) > HW_SCOPE_ID_MAX)
		return -EINVAL;
	ret->password[0] = 0;
	if (*scope_id && !account->secret) {
		snprintf(ret->client_id, sizeof(ret->client_id), "%s_0_%s", account->id, scope_id);
		return 0;
	}
	r = put_hour(now_us, hour);
	if (r < 0)
		return r;
	if (account->secret) {
		r = hw_hmac(hash_of(account->sign_type), fg_span_str(hour),
			    fg_span_str(account->secret), ret->password);
		if (r < 0)
			return r;
	}
	snprintf(ret->client_id, sizeof(ret->client_id), "%s_%d_%s%s%d_%s", account->id,
		 account->is_bridge ? 3 : 0, scope_id, *scope_id ? "_" : "", account->sign_type,
		 hour);
	return 0;
}

void hw_sign_in_wipe(struct hw_sign_in *sign_in)
{
	OPENSSL_cleanse(sign_in, sizeof(*sign_in));
}
