#include "certs.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509v3.h>

#define DAY_S (24 * 3600L)

static void must(int is_ok, const char *what)
{
	if (is_ok)
		return;
	fprintf(stderr, "certificates for the test: %s failed\n", what);
	abort();
}

const char *certs_path(const struct certs *c, const char *name)
{
	static char paths[8][128];
	static unsigned turn;
	char *path = paths[turn++ % 8];

	snprintf(path, sizeof(paths[0]), "%s/%s", c->dir, name);
	return path;
}

static void save_key(const struct certs *c, const char *name, EVP_PKEY *key, const char *passphrase)
{
	FILE *f = fopen(certs_path(c, name), "w");

	must(f != NULL, name);
	must(PEM_write_PrivateKey(f, key, passphrase ? EVP_aes_128_cbc() : NULL,
				  (const unsigned char *)passphrase,
				  passphrase ? (int)strlen(passphrase) : 0, NULL, NULL),
	     name);
	fclose(f);
}

static void save_certificate(const struct certs *c, const char *name, X509 *x)
{
	FILE *f = fopen(certs_path(c, name), "w");

	must(f != NULL, name);
	must(PEM_write_X509(f, x), name);
	fclose(f);
}

static void add_extension(X509 *x, X509 *issuer, int nid, const char *value)
{
	X509V3_CTX ctx;
	X509_EXTENSION *extension;

	X509V3_set_ctx_nodb(&ctx);
	X509V3_set_ctx(&ctx, issuer, x, NULL, NULL, 0);
	extension = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
	must(extension != NULL, value);
	must(X509_add_ext(x, extension, -1), value);
	X509_EXTENSION_free(extension);
}

/* @issuer NULL: signed by itself. @alt: subjectAltName, or NULL for a CA. */
static X509 *make_certificate(const char *common_name, EVP_PKEY *key, X509 *issuer,
			      EVP_PKEY *issuer_key, const char *alt, long from_s, long until_s)
{
	static long serial = 1;
	X509 *x = X509_new();
	X509_NAME *name;

	must(x != NULL, "X509_new");
	X509_set_version(x, 2);
	ASN1_INTEGER_set(X509_get_serialNumber(x), serial++);
	X509_gmtime_adj(X509_getm_notBefore(x), from_s);
	X509_gmtime_adj(X509_getm_notAfter(x), until_s);
	X509_set_pubkey(x, key);
	name = X509_get_subject_name(x);
	X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)common_name, -1,
				   -1, 0);
	X509_set_issuer_name(x, issuer ? X509_get_subject_name(issuer) : name);
	add_extension(x, issuer ? issuer : x, NID_basic_constraints,
		      alt ? "critical,CA:FALSE" : "critical,CA:TRUE");
	if (alt && alt[0])
		add_extension(x, issuer ? issuer : x, NID_subject_alt_name, alt);
	must(X509_sign(x, issuer_key, EVP_sha256()), "X509_sign");
	return x;
}

static void make_ca_directory(const struct certs *c, X509 *ca)
{
	char name[64];

	must(mkdir(certs_path(c, "ca-dir"), 0700) == 0, "mkdir");
	snprintf(name, sizeof(name), "ca-dir/%08lx.0", X509_subject_name_hash(ca));
	save_certificate(c, name, ca);
}

static void make_both(const struct certs *c, X509 *x, EVP_PKEY *key)
{
	FILE *f = fopen(certs_path(c, "client-both.pem"), "w");

	must(f != NULL, "fopen");
	PEM_write_X509(f, x);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
}

void certs_make(struct certs *c)
{
	EVP_PKEY *ca_key = EVP_EC_gen("P-256"), *server = EVP_EC_gen("P-256");
	EVP_PKEY *client = EVP_EC_gen("P-256"), *other = EVP_EC_gen("P-256");
	EVP_PKEY *rsa = EVP_RSA_gen(2048);
	static const char here[] = "DNS:localhost,IP:127.0.0.1";
	X509 *ca, *x;
	FILE *f;

	snprintf(c->dir, sizeof(c->dir), "/tmp/fieldgate-certs-XXXXXX");
	must(mkdtemp(c->dir) != NULL, "mkdtemp");
	must(ca_key && server && client && other && rsa, "making keys");
	ca = make_certificate("test CA", ca_key, NULL, ca_key, NULL, -DAY_S, 10 * DAY_S);
	save_certificate(c, "ca.pem", ca);
	make_ca_directory(c, ca);
	save_key(c, "server.key", server, NULL);
	save_key(c, "client.key", client, NULL);
	save_key(c, "client-encrypted.key", client, CERTS_PASSPHRASE);
	save_key(c, "other.key", other, NULL);
	save_key(c, "rsa.key", rsa, NULL);

	x = make_certificate("localhost", server, ca, ca_key, here, -DAY_S, 10 * DAY_S);
	save_certificate(c, "server.pem", x);
	X509_free(x);
	x = make_certificate("elsewhere", server, ca, ca_key, "DNS:elsewhere.example", -DAY_S,
			     10 * DAY_S);
	save_certificate(c, "wrong-name.pem", x);
	X509_free(x);
	x = make_certificate("localhost", server, ca, ca_key, here, -3 * DAY_S, -DAY_S);
	save_certificate(c, "expired.pem", x);
	X509_free(x);
	x = make_certificate("localhost", server, ca, ca_key, here, DAY_S, 3 * DAY_S);
	save_certificate(c, "future.pem", x);
	X509_free(x);
	x = make_certificate("localhost", server, NULL, server, here, -DAY_S, 10 * DAY_S);
	save_certificate(c, "self-signed.pem", x);
	X509_free(x);
	x = make_certificate("gateway", client, ca, ca_key, "", -DAY_S, 10 * DAY_S);
	save_certificate(c, "client.pem", x);
	make_both(c, x, client);
	X509_free(x);
	x = make_certificate("gateway", client, ca, ca_key, "", -3 * DAY_S, -DAY_S);
	save_certificate(c, "client-expired.pem", x);
	X509_free(x);

	f = fopen(certs_path(c, "garbage.pem"), "w");
	must(f != NULL, "fopen");
	fputs("no certificate, no key\n", f);
	fclose(f);
	X509_free(ca);
	EVP_PKEY_free(ca_key);
	EVP_PKEY_free(server);
	EVP_PKEY_free(client);
	EVP_PKEY_free(other);
	EVP_PKEY_free(rsa);
}

static void remove_directory(const char *path)
{
	struct dirent *entry;
	DIR *d = opendir(path);

	while (d && (entry = readdir(d))) {
		char file[512];

		if (entry->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
		if (entry->d_type == DT_DIR)
			remove_directory(file);
		else
			unlink(file);
	}
	if (d)
		closedir(d);
	rmdir(path);
}

void certs_remove(struct certs *c)
{
	remove_directory(c->dir);
}
