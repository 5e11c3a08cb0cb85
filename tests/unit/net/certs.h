#pragma once

/*
 * Keys and certificates for tests, made in a temporary directory. All are of the same CA but
 * `self-signed`.
 */
struct certs {
	char dir[64];
};

/** Make the files. Aborts when OpenSSL cannot. */
void certs_make(struct certs *c);
void certs_remove(struct certs *c);

/** "DIR/NAME"; static buffers, the last eight calls stay valid. */
const char *certs_path(const struct certs *c, const char *name);

/*
 * ca.pem ca-dir/              the CA, as a file and as a hashed directory
 * server.pem server.key       for localhost and 127.0.0.1
 * wrong-name.pem              for elsewhere.example, key server.key
 * expired.pem                 as server.pem, until yesterday
 * future.pem                  as server.pem, from tomorrow
 * self-signed.pem             as server.pem, not of the CA
 * client.pem client.key       client-encrypted.key: passphrase "correct horse"
 * client-both.pem             certificate and key in one file
 * client-expired.pem          key client.key
 * other.key rsa.key           belong to no certificate
 * garbage.pem                 text
 */
#define CERTS_PASSPHRASE "correct horse"
