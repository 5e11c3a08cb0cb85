#include "net/tls.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include "util/cleanup.h"

struct fg_tls {
	SSL_CTX *context;
	char *key_password;
	char *server_name; /* to ask for (RFC 6066, 3); NULL for an address, which has no business
			      there */
	_Atomic long verify_error; /* X509_V_ERR_…; set on a connecting thread, read on the loop */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int owner_index = -1;

static void tls_release(struct fg_tls *tls)
{
	if (tls->key_password)
		OPENSSL_cleanse(tls->key_password, strlen(tls->key_password));
	free(tls->key_password);
	free(tls->server_name);
	free(tls);
}

/* The last one who held the context has let go of it. */
static void context_gone(void *parent, void *tls, CRYPTO_EX_DATA *data, int index, long argl,
			 void *argp)
{
	(void)parent;
	(void)data;
	(void)index;
	(void)argl;
	(void)argp;
	if (tls)
		tls_release(tls);
}

static void make_index(void)
{
	owner_index = SSL_CTX_get_ex_new_index(0, NULL, NULL, NULL, context_gone);
}

/*
 * A handshake that runs on another thread looks at `tls`, and may outlive its owner: so the context
 * owns it, and OpenSSL counts who has the context.
 */
static int tls_alloc(struct fg_tls **ret)
{
	struct fg_tls *tls = calloc(1, sizeof(*tls));

	pthread_once(&once, make_index);
	if (tls)
		tls->context = SSL_CTX_new(TLS_client_method());
	if (!tls || !tls->context || SSL_CTX_set_ex_data(tls->context, owner_index, tls) != 1) {
		if (tls)
			SSL_CTX_free(tls->context);
		free(tls);
		return -ENOMEM;
	}
	*ret = tls;
	return 0;
}

static void tls_freep(struct fg_tls **tls)
{
	fg_tls_free(*tls);
}

/* OpenSSL's reason in words, and its error queue emptied. */
static const char *openssl_reason(void)
{
	unsigned long code = ERR_peek_last_error();
	const char *reason = ERR_reason_error_string(code);

	if (!reason && ERR_SYSTEM_ERROR(code))
		reason = strerror(ERR_GET_REASON(code));
	ERR_clear_error();
	return reason ? reason : "unknown error";
}

/* Never the default callback: it would ask on the terminal. */
static int give_passphrase(char *buffer, int size, int is_for_writing, void *arg)
{
	const struct fg_tls *tls = arg;
	size_t length;

	(void)is_for_writing;
	if (!tls->key_password)
		return -1;
	length = strlen(tls->key_password);
	if (size < 0 || length > (size_t)size)
		return -1;
	memcpy(buffer, tls->key_password, length);
	return (int)length;
}

static int note_verify_error(int is_ok, X509_STORE_CTX *store)
{
	const SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
	struct fg_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	if (!is_ok && tls)
		tls->verify_error = X509_STORE_CTX_get_error(store);
	return is_ok;
}

/*
 * libmosquitto asks for the host it connects to, which need not be the name we want, and may be an
 * address. This is called right before the ClientHello is made.
 */
static void ask_for_server_name(const SSL *ssl, int where, int ret)
{
	const struct fg_tls *tls = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));

	(void)ret;
	if (tls && (where & SSL_CB_HANDSHAKE_START))
		SSL_set_tlsext_host_name((SSL *)(uintptr_t)ssl, tls->server_name);
}

static int load_ca(SSL_CTX *context, const char *ca, struct fg_error *err)
{
	struct stat st;
	int is_ok;

	if (!ca) {
		if (SSL_CTX_set_default_verify_paths(context) != 1)
			return fg_error_set(err, -EINVAL, "the system's certificate store: %s",
					    openssl_reason());
		return 0;
	}
	if (stat(ca, &st) < 0)
		return fg_error_set(err, -EINVAL, "%s: %s", ca, strerror(errno));
	is_ok = S_ISDIR(st.st_mode) ? SSL_CTX_load_verify_dir(context, ca)
				    : SSL_CTX_load_verify_file(context, ca);
	if (is_ok != 1)
		return fg_error_set(err, -EINVAL, "%s: no CA certificate in PEM form (%s)", ca,
				    openssl_reason());
	return 0;
}

static int load_own(struct fg_tls *tls, const struct fg_tls_params *p, struct fg_error *err)
{
	const char *key = p->key ? p->key : p->certificate;

	if (!p->certificate)
		return 0;
	if (SSL_CTX_use_certificate_chain_file(tls->context, p->certificate) != 1)
		return fg_error_set(err, -EINVAL, "%s: no certificate in PEM form (%s)",
				    p->certificate, openssl_reason());
	if (SSL_CTX_use_PrivateKey_file(tls->context, key, SSL_FILETYPE_PEM) != 1) {
		unsigned long code = ERR_peek_last_error();
		bool is_mismatch = ERR_GET_LIB(code) == ERR_LIB_X509 &&
				   ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH;

		ERR_clear_error();
		if (is_mismatch)
			return fg_error_set(err, -EINVAL, "%s: the key does not belong to %s", key,
					    p->certificate);
		return fg_error_set(err, -EINVAL,
				    "%s: no usable private key in PEM form, or key_password is "
				    "wrong or missing",
				    key);
	}
	if (SSL_CTX_check_private_key(tls->context) != 1)
		return fg_error_set(err, -EINVAL, "%s: the key does not belong to %s (%s)", key,
				    p->certificate, openssl_reason());
	return 0;
}

static bool is_address(const char *host)
{
	unsigned char address[16];

	return inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1;
}

static int set_verification(struct fg_tls *tls, const struct fg_tls_params *p, struct fg_error *err)
{
	X509_VERIFY_PARAM *param = SSL_CTX_get0_param(tls->context);
	int is_ok;

	if (p->is_insecure) {
		SSL_CTX_set_verify(tls->context, SSL_VERIFY_NONE, NULL);
		return 0;
	}
	SSL_CTX_set_verify(tls->context, SSL_VERIFY_PEER, note_verify_error);
	if (is_address(p->host)) {
		is_ok = X509_VERIFY_PARAM_set1_ip_asc(param, p->host);
	} else {
		X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
		is_ok = X509_VERIFY_PARAM_set1_host(param, p->host, 0);
	}
	if (is_ok != 1)
		return fg_error_set(err, -EINVAL, "host name \"%s\": %s", p->host,
				    openssl_reason());
	return load_ca(tls->context, p->ca, err);
}

int fg_tls_new(const struct fg_tls_params *params, struct fg_tls **ret, struct fg_error *err)
{
	FG_CLEANUP(tls_freep) struct fg_tls *tls = NULL;
	int r = tls_alloc(&tls);

	if (r < 0)
		return r;
	if (params->key_password)
		tls->key_password = strdup(params->key_password);
	if (!is_address(params->host))
		tls->server_name = strdup(params->host);
	if ((params->key_password && !tls->key_password) ||
	    (!is_address(params->host) && !tls->server_name))
		return -ENOMEM;

	SSL_CTX_set_app_data(tls->context, tls);
	SSL_CTX_set_min_proto_version(tls->context, TLS1_2_VERSION);
	/* libmosquitto hands the same bytes in again from a buffer that may have moved; buffers of
	 * an idle session (34 KiB) are given back. */
	SSL_CTX_set_mode(tls->context, SSL_MODE_ENABLE_PARTIAL_WRITE |
					       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
					       SSL_MODE_RELEASE_BUFFERS);
	/* Many servers hang up without close_notify; where an MQTT packet ends, the packet says. */
	SSL_CTX_set_options(tls->context, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_info_callback(tls->context, ask_for_server_name);
	SSL_CTX_set_default_passwd_cb(tls->context, give_passphrase);
	SSL_CTX_set_default_passwd_cb_userdata(tls->context, tls);

	r = set_verification(tls, params, err);
	if (r < 0)
		return r;
	r = load_own(tls, params, err);
	if (r < 0)
		return r;

	*ret = tls; /* the caller owns it now */
	tls = NULL;
	return 0;
}

struct fg_tls *fg_tls_free(struct fg_tls *tls)
{
	if (tls)
		SSL_CTX_free(tls->context);
	return NULL;
}

SSL_CTX *fg_tls_context(const struct fg_tls *tls)
{
	return tls->context;
}

bool fg_tls_has_expired(const struct fg_tls *tls)
{
	const X509 *own = SSL_CTX_get0_certificate(tls->context);

	return own && X509_cmp_current_time(X509_get0_notAfter(own)) < 0;
}

#define CLOCK "; is this machine's clock right?"
#define AUTHORITY "; does tls.ca have the authority it is from?"
#define NAME "; is it the right host? See tls.server_name"

/* The mistakes that are made most often: OpenSSL's words, and what to look at. */
static const struct {
	long code;
	const char *text;
} mistakes[] = {
	/* Mostly a machine without a clock battery that has just started. */
	{X509_V_ERR_CERT_NOT_YET_VALID, "certificate is not yet valid" CLOCK},
	{X509_V_ERR_CERT_HAS_EXPIRED, "certificate has expired" CLOCK},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "unable to get issuer certificate" AUTHORITY},
	{X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
	 "unable to get local issuer certificate" AUTHORITY},
	{X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "self-signed certificate" AUTHORITY},
	{X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
	 "self-signed certificate in certificate chain" AUTHORITY},
	{X509_V_ERR_HOSTNAME_MISMATCH, "hostname mismatch" NAME},
	{X509_V_ERR_IP_ADDRESS_MISMATCH, "IP address mismatch" NAME},
};

const char *fg_tls_take_verify_error(struct fg_tls *tls)
{
	long code = tls->verify_error;

	tls->verify_error = X509_V_OK;
	for (size_t i = 0; i < sizeof(mistakes) / sizeof(mistakes[0]); i++)
		if (mistakes[i].code == code)
			return mistakes[i].text;
	return code == X509_V_OK ? NULL : X509_verify_cert_error_string(code);
}
