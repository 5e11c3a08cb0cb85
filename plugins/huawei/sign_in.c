#include "sign_in.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "common/utc.h"

#define HOUR_SIZE sizeof("2026031509")

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
