#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "certs.h"
#include "net/tls.h"

static struct certs certs;

#define PATH(name) certs_path(&certs, name)

static int setup(void **state)
{
	(void)state;
	certs_make(&certs);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	certs_remove(&certs);
	return 0;
}

static void accepted(const struct fg_tls_params *params)
{
	struct fg_error err = {0};
	struct fg_tls *tls = NULL;
	int r = fg_tls_new(params, &tls, &err);

	if (r < 0)
		fail_msg("refused: %s", err.text);
	assert_non_null(fg_tls_context(tls));
	assert_null(fg_tls_take_verify_error(tls));
	assert_null(fg_tls_free(tls));
}

/* Refused with a sentence that names @file and says @why. */
static void refused(const struct fg_tls_params *params, const char *file, const char *why)
{
	struct fg_error err = {0};
	struct fg_tls *tls = NULL;

	assert_int_equal(fg_tls_new(params, &tls, &err), -EINVAL);
	assert_null(tls);
	if (!strstr(err.text, file) || !strstr(err.text, why))
		fail_msg("\"%s\" does not say \"%s\" and \"%s\"", err.text, file, why);
	if (params->key_password && params->key_password[0])
		assert_null(strstr(err.text, params->key_password));
}

static void a_ca_is_a_file_a_directory_or_the_systems_store(void **state)
{
	(void)state;
	accepted(&(struct fg_tls_params){.host = "localhost", .ca = PATH("ca.pem")});
	accepted(&(struct fg_tls_params){.host = "127.0.0.1", .ca = PATH("ca-dir")});
	accepted(&(struct fg_tls_params){.host = "::1"});
	accepted(&(struct fg_tls_params){.host = "localhost", .is_insecure = true});
}

static void a_ca_that_is_none_is_refused(void **state)
{
	(void)state;
	refused(&(struct fg_tls_params){.host = "h", .ca = PATH("garbage.pem")}, "garbage.pem",
		"PEM");
	refused(&(struct fg_tls_params){.host = "h", .ca = PATH("missing.pem")}, "missing.pem",
		"No such file");
	refused(&(struct fg_tls_params){.host = "h", .ca = PATH("client.key")}, "client.key",
		"PEM");
}

static struct fg_tls_params with(const char *certificate, const char *key, const char *password)
{
	return (struct fg_tls_params){
		.host = "localhost",
		.ca = PATH("ca.pem"),
		.certificate = certificate ? PATH(certificate) : NULL,
		.key = key ? PATH(key) : NULL,
		.key_password = password,
	};
}

static void a_client_certificate_with_its_key_is_taken(void **state)
{
	struct fg_tls_params p;

	(void)state;
	p = with("client.pem", "client.key", NULL);
	accepted(&p);
	p = with("client-both.pem", "client-both.pem", NULL);
	accepted(&p);
	p = with("client-both.pem", NULL, NULL); /* the key is in the same file */
	accepted(&p);
	p = with("client.pem", "client.key", "not needed");
	accepted(&p);
	p = with("client.pem", "client-encrypted.key", CERTS_PASSPHRASE);
	accepted(&p);
}

static void a_key_of_somebody_else_is_refused(void **state)
{
	struct fg_tls_params p;

	(void)state;
	p = with("client.pem", "other.key", NULL);
	refused(&p, "other.key", "does not belong to");
	p = with("client.pem", "rsa.key", NULL);
	refused(&p, "rsa.key", "does not belong to");
}

static void an_encrypted_key_needs_its_passphrase_and_nobody_is_asked(void **state)
{
	int before = dup(STDIN_FILENO);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	struct fg_tls_params p;

	(void)state;
	dup2(null, STDIN_FILENO);
	p = with("client.pem", "client-encrypted.key", NULL);
	refused(&p, "client-encrypted.key", "key_password");
	p = with("client.pem", "client-encrypted.key", "wrong battery");
	refused(&p, "client-encrypted.key", "key_password");
	p = with("client.pem", "client-encrypted.key", "");
	refused(&p, "client-encrypted.key", "key_password");
	dup2(before, STDIN_FILENO);
	close(before);
	close(null);
}

static void an_overlong_passphrase_is_wrong_and_no_overflow(void **state)
{
	struct fg_tls_params p;
	char passphrase[5000];

	(void)state;
	memset(passphrase, 'x', sizeof(passphrase) - 1);
	passphrase[sizeof(passphrase) - 1] = '\0';
	p = with("client.pem", "client-encrypted.key", passphrase);
	refused(&p, "client-encrypted.key", "key_password");
}

static void files_that_hold_no_certificate_or_key_are_refused(void **state)
{
	struct fg_tls_params p;

	(void)state;
	p = with("garbage.pem", "client.key", NULL);
	refused(&p, "garbage.pem", "no certificate");
	p = with("missing.pem", "client.key", NULL);
	refused(&p, "missing.pem", "no certificate");
	p = with("client.pem", "garbage.pem", NULL);
	refused(&p, "garbage.pem", "no usable private key");
	p = with("client.pem", "missing.key", NULL);
	refused(&p, "missing.key", "no usable private key");
	p = with("client.pem", NULL, NULL);
	refused(&p, "client.pem", "no usable private key");
}

/* A clock that is years ahead must not keep the gateway from starting. */
static void an_expired_client_certificate_is_told_and_taken(void **state)
{
	struct fg_tls_params expired = with("client-expired.pem", "client.key", NULL);
	struct fg_tls_params good = with("client.pem", "client.key", NULL);
	struct fg_tls *tls = NULL;

	(void)state;
	assert_int_equal(fg_tls_new(&expired, &tls, NULL), 0);
	assert_true(fg_tls_has_expired(tls));
	tls = fg_tls_free(tls);
	assert_int_equal(fg_tls_new(&good, &tls, NULL), 0);
	assert_false(fg_tls_has_expired(tls));
	tls = fg_tls_free(tls);
	assert_int_equal(fg_tls_new(&(struct fg_tls_params){.host = "h"}, &tls, NULL), 0);
	assert_false(fg_tls_has_expired(tls));
	fg_tls_free(tls);
}

/* As on the connector's thread, while the loop throws the session away. */
static void who_uses_the_context_may_outlive_its_owner(void **state)
{
	const struct fg_tls_params params = {.host = "cloud.example", .ca = PATH("ca.pem")};
	struct fg_tls *tls = NULL;
	SSL_CTX *context;
	SSL *ssl;

	(void)state;
	assert_int_equal(fg_tls_new(&params, &tls, NULL), 0);
	context = fg_tls_context(tls);
	SSL_CTX_up_ref(context);
	fg_tls_free(tls);
	ssl = SSL_new(context);
	SSL_CTX_free(context);
	assert_non_null(ssl);
	SSL_set_bio(ssl, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
	SSL_set_connect_state(ssl);
	assert_true(SSL_do_handshake(ssl) < 0); /* nobody answers */
	assert_string_equal(SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name), "cloud.example");
	SSL_free(ssl);
}

static void freeing_nothing_is_allowed(void **state)
{
	(void)state;
	assert_null(fg_tls_free(NULL));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_ca_is_a_file_a_directory_or_the_systems_store),
		cmocka_unit_test(a_ca_that_is_none_is_refused),
		cmocka_unit_test(a_client_certificate_with_its_key_is_taken),
		cmocka_unit_test(a_key_of_somebody_else_is_refused),
		cmocka_unit_test(an_encrypted_key_needs_its_passphrase_and_nobody_is_asked),
		cmocka_unit_test(an_overlong_passphrase_is_wrong_and_no_overflow),
		cmocka_unit_test(files_that_hold_no_certificate_or_key_are_refused),
		cmocka_unit_test(an_expired_client_certificate_is_told_and_taken),
		cmocka_unit_test(who_uses_the_context_may_outlive_its_owner),
		cmocka_unit_test(freeing_nothing_is_allowed),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
