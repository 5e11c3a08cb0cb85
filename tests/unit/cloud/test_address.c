#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>
#include <openssl/x509v3.h>

#include "certs.h"
#include "cloud/address.h"

static struct certs certs;
static struct fg_cloud_config config;
static struct fg_tls *link_tls;
static struct fg_address address;

static int make_certs(void **state)
{
	(void)state;
	certs_make(&certs);
	return 0;
}

static int remove_certs(void **state)
{
	(void)state;
	certs_remove(&certs);
	return 0;
}

static int setup(void **state)
{
	const struct fg_tls_params params = {.host = "front.example",
					     .ca = certs_path(&certs, "ca.pem")};

	(void)state;
	config = (struct fg_cloud_config){
		.url = {.is_tls = true, .host = (char *)"boot.example", .port = 8883},
		.tls = {.ca = (char *)certs_path(&certs, "ca.pem"),
			.server_name = (char *)"front.example"},
	};
	address = (struct fg_address){0};
	return fg_tls_new(&params, &link_tls, NULL);
}

static int teardown(void **state)
{
	(void)state;
	fg_address_clear(&address);
	fg_tls_free(link_tls);
	return 0;
}

static void set(const char *given)
{
	struct fg_error err = {0};

	if (fg_address_set(&address, &config, link_tls, given, &err) < 0)
		fail_msg("%s", err.text);
}

/* The name that the certificate must carry. */
static const char *verified_name(void)
{
	return X509_VERIFY_PARAM_get0_host(SSL_CTX_get0_param(fg_tls_context(address.tls)), 0);
}

static void without_one_it_is_that_of_the_url(void **state)
{
	(void)state;
	set(NULL);
	assert_string_equal(address.host, "boot.example");
	assert_int_equal(address.port, 8883);
	assert_ptr_equal(address.tls, link_tls);
}

static void another_port_of_the_same_host_is_the_same_server(void **state)
{
	(void)state;
	set("Boot.Example:8884");
	assert_int_equal(address.port, 8884);
	assert_ptr_equal(address.tls, link_tls);
}

static void a_server_is_told_from_the_one_before(void **state)
{
	static const struct {
		const char *given;
		int is_other;
	} steps[] = {
		{NULL, 1},
		{NULL, 0},
		{"boot.example:8883", 0},
		{"boot.example:8884", 1},
		{"BOOT.example:8884", 0},
		{"iotda.example:8884", 1},
		{"iotda.example:8884", 0},
		{NULL, 1},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		assert_int_equal(fg_address_set(&address, &config, link_tls, steps[i].given, NULL),
				 steps[i].is_other);
}

static void the_certificate_must_be_for_the_host_that_was_given(void **state)
{
	const struct fg_tls *first;

	(void)state;
	set("iotda.example:8883");
	assert_string_equal(address.host, "iotda.example");
	assert_string_equal(verified_name(), "iotda.example");
	assert_int_equal(SSL_CTX_get_verify_mode(fg_tls_context(address.tls)), SSL_VERIFY_PEER);
	first = address.tls;
	set("IOTDA.example:443");
	assert_ptr_equal(address.tls, first); /* the same host: nothing is loaded again */
	set("second.example:8883");
	assert_string_equal(verified_name(), "second.example");
	set(NULL);
	assert_string_equal(verified_name(), "front.example");
}

static void an_ip_address_is_verified_as_one(void **state)
{
	char *ip;

	(void)state;
	set("[2001:db8::1]:8883");
	assert_string_equal(address.host, "2001:db8::1");
	ip = X509_VERIFY_PARAM_get1_ip_asc(SSL_CTX_get0_param(fg_tls_context(address.tls)));
	assert_string_equal(ip, "2001:DB8:0:0:0:0:0:1");
	OPENSSL_free(ip);
}

static void what_speaks_no_tls_does_not_begin_to(void **state)
{
	(void)state;
	config.url.is_tls = false;
	assert_int_equal(fg_address_set(&address, &config, NULL, "iotda.example:8883", NULL), 1);
	assert_string_equal(address.host, "iotda.example");
	assert_null(address.tls);
}

static void what_cannot_be_is_refused_and_changes_nothing(void **state)
{
	static const char *const bad[] = {"", "iotda.example", "iotda.example:0", "mqtt://h:1"};
	struct fg_error err = {0};

	(void)state;
	set("good.example:8883");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(fg_address_set(&address, &config, link_tls, bad[i], &err),
				 -EINVAL);
		assert_non_null(strstr(err.text, bad[i]));
	}
	config.tls.ca = (char *)certs_path(&certs, "missing.pem");
	assert_int_equal(fg_address_set(&address, &config, link_tls, "h.example:8883", &err),
			 -EINVAL);
	assert_non_null(strstr(err.text, "missing.pem"));
	assert_string_equal(address.host, "good.example");
	assert_string_equal(verified_name(), "good.example");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(without_one_it_is_that_of_the_url),
		TEST(another_port_of_the_same_host_is_the_same_server),
		TEST(a_server_is_told_from_the_one_before),
		TEST(the_certificate_must_be_for_the_host_that_was_given),
		TEST(an_ip_address_is_verified_as_one),
		TEST(what_speaks_no_tls_does_not_begin_to),
		TEST(what_cannot_be_is_refused_and_changes_nothing),
	};

	return cmocka_run_group_tests(tests, make_certs, remove_certs);
}
