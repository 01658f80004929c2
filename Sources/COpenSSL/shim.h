// OpenSSL 3 for Swift. Many of its calls are macros, variadic functions or generated stack accessors, none of which
// the importer can see; each such call that TransportSecurity needs has a `martlet_` wrapper here, and nothing else.
// The BIO below is here too because OpenSSL calls it twice a record: in C it is two memcpys and no reference counting.
#ifndef MARTLET_COPENSSL_H
#define MARTLET_COPENSSL_H

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "OpenSSL 3.0 or newer is needed"
#endif

// ---- A BIO over memory lent for one call -------------------------------------------------------------------------
// OpenSSL's own memory BIO copies every byte once more and keeps its own growing buffer. This one reads ciphertext
// straight from, and writes it straight into, memory that the caller lends for the duration of one SSL_* call (a
// ByteBuffer's). When the input is used up, or the output is full, it asks OpenSSL to come again; it never fails.

struct martlet_tls_io {
    const unsigned char *input;
    size_t input_count;
    unsigned char *output;
    size_t output_count;
    size_t output_capacity;
};

static inline int martlet_bio_read(BIO *bio, char *bytes, size_t count, size_t *done) {
    struct martlet_tls_io *io = (struct martlet_tls_io *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    if (io->input_count == 0) {
        *done = 0;
        BIO_set_retry_read(bio);
        return 0;
    }
    size_t taken = count < io->input_count ? count : io->input_count;
    memcpy(bytes, io->input, taken);
    io->input += taken;
    io->input_count -= taken;
    *done = taken;
    return 1;
}

static inline int martlet_bio_write(BIO *bio, const char *bytes, size_t count, size_t *done) {
    struct martlet_tls_io *io = (struct martlet_tls_io *)BIO_get_data(bio);
    BIO_clear_retry_flags(bio);
    size_t room = io->output_capacity - io->output_count;
    if (room == 0) {
        *done = 0;
        BIO_set_retry_write(bio);
        return 0;
    }
    size_t taken = count < room ? count : room;
    memcpy(io->output + io->output_count, bytes, taken);
    io->output_count += taken;
    *done = taken;
    return 1;
}

static inline long martlet_bio_ctrl(BIO *bio, int command, long number, void *pointer) {
    (void)bio;
    (void)number;
    (void)pointer;
    // Flushing always succeeds: written bytes are already where they belong. Nothing else is supported.
    return command == BIO_CTRL_FLUSH ? 1 : 0;
}

static inline int martlet_bio_create(BIO *bio) {
    BIO_set_init(bio, 1);
    return 1;
}

/// The method table of the BIO above; made once in the process and never freed.
static inline BIO_METHOD *martlet_bio_method(void) {
    BIO_METHOD *method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "lent memory");
    if (method == NULL) return NULL;
    if (BIO_meth_set_read_ex(method, martlet_bio_read) != 1 || BIO_meth_set_write_ex(method, martlet_bio_write) != 1 ||
        BIO_meth_set_ctrl(method, martlet_bio_ctrl) != 1 || BIO_meth_set_create(method, martlet_bio_create) != 1) {
        BIO_meth_free(method);
        return NULL;
    }
    return method;
}

// ---- One call, one status ----------------------------------------------------------------------------------------
// SSL_get_error reads the thread's error queue, so the queue must be empty before the call that it explains: kept
// together here, so that no caller can forget it.

static inline int martlet_ssl_read(SSL *ssl, void *bytes, size_t count, size_t *done) {
    ERR_clear_error();
    int result = SSL_read_ex(ssl, bytes, count, done);
    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
}

static inline int martlet_ssl_write(SSL *ssl, const void *bytes, size_t count, size_t *done) {
    ERR_clear_error();
    int result = SSL_write_ex(ssl, bytes, count, done);
    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
}

static inline int martlet_ssl_handshake(SSL *ssl) {
    ERR_clear_error();
    int result = SSL_do_handshake(ssl);
    return result == 1 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
}

static inline int martlet_ssl_shutdown(SSL *ssl) {
    ERR_clear_error();
    int result = SSL_shutdown(ssl);
    return result >= 0 ? SSL_ERROR_NONE : SSL_get_error(ssl, result);
}

// ---- Macros ------------------------------------------------------------------------------------------------------

static inline int martlet_ctx_set_versions(SSL_CTX *context, int minimum, int maximum) {
    return SSL_CTX_set_min_proto_version(context, minimum) == 1 &&
           SSL_CTX_set_max_proto_version(context, maximum) == 1;
}

/// Everything that is the same for each of our contexts: no renegotiation, no compression, no resumption (so that
/// every connection's certificate is checked against the present CA, names and CRL), our order of ciphers unless the
/// client has no fast AES, and writes that may be repeated from other memory after the output was full.
static inline void martlet_ctx_set_defaults(SSL_CTX *context) {
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET |
                                     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_mode(context, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
}

static inline int martlet_ssl_set_server_name(SSL *ssl, const char *name) {
    return SSL_set_tlsext_host_name(ssl, name) == 1;
}

/// Adds one more certificate of our own chain; the context takes ownership when the result is 1.
static inline int martlet_ctx_add_chain_certificate(SSL_CTX *context, X509 *certificate) {
    return SSL_CTX_add0_chain_cert(context, certificate) == 1;
}

/// Adds the certificate's subject to the list a server sends with its request for a client certificate.
static inline int martlet_ctx_add_client_ca(SSL_CTX *context, X509 *certificate) {
    return SSL_CTX_add_client_CA(context, certificate) == 1;
}

/// The SSL_get_ex_new_index slot 0 is OpenSSL's "application data"; its macros cannot be imported.
static inline void martlet_ssl_set_owner(SSL *ssl, void *owner) { SSL_set_ex_data(ssl, 0, owner); }
static inline void *martlet_ssl_owner(const SSL *ssl) { return SSL_get_ex_data(ssl, 0); }

static inline SSL *martlet_store_ctx_ssl(X509_STORE_CTX *store) {
    return (SSL *)X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
}

/// The reason code of an error, and whether it stands for an alert that the other side sent (0 if it does not).
static inline int martlet_error_reason(unsigned long error) { return ERR_GET_REASON(error); }
static inline int martlet_error_library(unsigned long error) { return ERR_GET_LIB(error); }
static inline int martlet_error_alert(unsigned long error) {
    int reason = ERR_GET_REASON(error);
    return ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET && reason < SSL_AD_REASON_OFFSET + 256
               ? reason - SSL_AD_REASON_OFFSET
               : 0;
}

static inline BIO *martlet_bio_memory(const void *bytes, size_t count) {
    return count > 0x7fffffff ? NULL : BIO_new_mem_buf(bytes, (int)count);
}

/// The bytes written to a BIO of BIO_s_mem; they belong to it.
static inline size_t martlet_bio_contents(BIO *bio, const void **bytes) {
    char *start = NULL;
    long count = BIO_get_mem_data(bio, &start);
    *bytes = start;
    return count > 0 ? (size_t)count : 0;
}

// ---- Stacks of general names and revoked certificates --------------------------------------------------------------

static inline int martlet_names_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }

/// The type (GEN_DNS, GEN_IPADD, ...) and the bytes of one alternative name; other types give no bytes.
static inline int martlet_names_at(const GENERAL_NAMES *names, int index, const unsigned char **bytes, int *count) {
    const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, index);
    const ASN1_STRING *value = NULL;
    if (name->type == GEN_DNS) value = name->d.dNSName;
    if (name->type == GEN_IPADD) value = name->d.iPAddress;
    *bytes = value == NULL ? NULL : ASN1_STRING_get0_data(value);
    *count = value == NULL ? 0 : ASN1_STRING_length(value);
    return name->type;
}

static inline int martlet_crl_count(X509_CRL *list) {
    STACK_OF(X509_REVOKED) *revoked = X509_CRL_get_REVOKED(list);
    return revoked == NULL ? 0 : sk_X509_REVOKED_num(revoked);
}

static inline const ASN1_INTEGER *martlet_crl_serial(X509_CRL *list, int index) {
    return X509_REVOKED_get0_serialNumber(sk_X509_REVOKED_value(X509_CRL_get_REVOKED(list), index));
}

static inline int martlet_crl_bytes(const ASN1_INTEGER *number, const unsigned char **bytes) {
    *bytes = ASN1_STRING_get0_data((const ASN1_STRING *)number);
    return ASN1_STRING_length((const ASN1_STRING *)number);
}

// ---- Making keys and certificates ----------------------------------------------------------------------------------

/// A new private key on a named curve ("P-256", "P-521"); variadic in OpenSSL.
static inline EVP_PKEY *martlet_new_ec_key(const char *curve) { return EVP_EC_gen(curve); }

/// Adds an extension given in OpenSSL's configuration notation; 1 on success.
static inline int martlet_add_extension(X509 *certificate, X509 *issuer, int nid, const char *value) {
    X509V3_CTX context;
    X509V3_set_ctx_nodb(&context);
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    if (extension == NULL) return 0;
    int result = X509_add_ext(certificate, extension, -1);
    X509_EXTENSION_free(extension);
    return result;
}

#endif
