#include "runtime/redis_tls.h"
#include "runtime/memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef SLUICE_REDIS_TLS
#include <arpa/inet.h>
#include <hiredis/hiredis_ssl.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

struct redis_tls {
    SSL *ssl;  /* a reference of our own: hiredis frees its own with the connection */
    int alert; /* the last that the server sent; 0: none */
};

bool redis_tls_available(char *why, size_t why_size) {
    return true;
}

static const char *reason(void) {
    const char *text = ERR_reason_error_string(ERR_peek_last_error());
    return text != NULL ? text : "for no reason that OpenSSL could give";
}

static bool files_load(SSL_CTX *context, const struct redis_tls_files *files, char *why,
                       size_t why_size) {
    if (files->ca != NULL ? SSL_CTX_load_verify_locations(context, files->ca, NULL) != 1
                          : SSL_CTX_set_default_verify_paths(context) != 1) {
        snprintf(why, why_size, "cannot read the authorities in %s: %s",
                 files->ca != NULL ? files->ca : "the system's directory", reason());
        return false;
    }
    if (files->cert != NULL && SSL_CTX_use_certificate_chain_file(context, files->cert) != 1) {
        snprintf(why, why_size, "cannot read the certificate %s: %s", files->cert, reason());
        return false;
    }
    if (files->key != NULL &&
        SSL_CTX_use_PrivateKey_file(context, files->key, SSL_FILETYPE_PEM) != 1) {
        snprintf(why, why_size, "cannot read the key %s, or it is not the certificate's: %s",
                 files->key, reason());
        return false;
    }
    return true;
}

static bool name_require(SSL *ssl, const char *name) {
    unsigned char number[16];
    bool is_number =
        inet_pton(AF_INET, name, number) == 1 || inet_pton(AF_INET6, name, number) == 1;
    if (is_number)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), name) == 1;
    return SSL_set1_host(ssl, name) == 1 && SSL_set_tlsext_host_name(ssl, name) == 1;
}

/* What the server complains of comes as an alert, perhaps after it seemed to be content. */
static void on_info(const SSL *ssl, int where, int value) {
    struct redis_tls *tls = SSL_get_app_data(ssl);
    if (tls != NULL && (where & SSL_CB_READ_ALERT) == SSL_CB_READ_ALERT &&
        (value & 0xff) != SSL_AD_CLOSE_NOTIFY)
        tls->alert = value;
}

static SSL *ssl_create(const struct redis_tls_files *files, const char *name, char *why,
                       size_t why_size) {
    SSL *ssl = NULL;
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (context == NULL) {
        snprintf(why, why_size, "no memory for TLS");
        return NULL;
    }
    SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_info_callback(context, on_info);
    if (files_load(context, files, why, why_size)) {
        ssl = SSL_new(context);
        if (ssl == NULL || !name_require(ssl, name)) {
            snprintf(why, why_size, "cannot ask for the name %s: %s", name, reason());
            SSL_free(ssl);
            ssl = NULL;
        }
    }
    SSL_CTX_free(context); /* `ssl` holds it */
    return ssl;
}

struct redis_tls *redis_tls_begin(redisContext *connection, const struct redis_tls_files *files,
                                  const char *host, char *why, size_t why_size) {
    struct redis_tls *tls = memory_need(sizeof *tls);
    ERR_clear_error();
    tls->ssl =
        ssl_create(files, files->server_name != NULL ? files->server_name : host, why, why_size);
    if (tls->ssl == NULL) {
        free(tls);
        return NULL;
    }
    SSL_set_app_data(tls->ssl, tls);
    SSL_up_ref(tls->ssl);
    if (redisInitiateSSL(connection, tls->ssl) != REDIS_OK) {
        SSL_free(tls->ssl); /* hiredis took no reference */
        redis_tls_end(tls, false, why, why_size);
        if (why[0] == '\0')
            snprintf(why, why_size, "%s", connection->errstr);
        return NULL;
    }
    return tls;
}

/* The reason that helps most. */
static void explain(const struct redis_tls *tls, bool answered, char *why, size_t why_size) {
    bool shown = SSL_get_certificate(tls->ssl) != NULL;
    long verified = SSL_get_verify_result(tls->ssl);
    unsigned long error = ERR_peek_last_error();
    why[0] = '\0';
    if (verified != X509_V_OK)
        snprintf(why, why_size, "the server's certificate is refused: %s",
                 X509_verify_cert_error_string(verified));
    else if (tls->alert != 0)
        snprintf(why, why_size, "the server refuses us: %s%s",
                 SSL_alert_desc_string_long(tls->alert),
                 shown ? "" : " (we have shown no certificate: --redis-cert, --redis-key)");
    else if (!SSL_is_init_finished(tls->ssl) && error != 0)
        snprintf(why, why_size, "%s%s", reason(),
                 ERR_GET_REASON(error) == SSL_R_WRONG_VERSION_NUMBER
                     ? ": does a Redis without TLS listen there (redis://)?"
                     : "");
    else if (!SSL_is_init_finished(tls->ssl))
        snprintf(why, why_size, "no handshake: does a Redis without TLS listen there (redis://)?");
    else if (!answered) /* the alert is lost when the connection is reset behind it */
        snprintf(why, why_size, "the server refuses us after the handshake: %s",
                 shown ? "does it trust our certificate?"
                       : "it wants a certificate (--redis-cert, --redis-key)");
}

void redis_tls_end(struct redis_tls *tls, bool answered, char *why, size_t why_size) {
    explain(tls, answered, why, why_size);
    ERR_clear_error();
    SSL_set_app_data(tls->ssl, NULL);
    SSL_free(tls->ssl);
    free(tls);
}

#else

bool redis_tls_available(char *why, size_t why_size) {
    snprintf(why, why_size,
             "this build has no TLS to Redis: it was made without hiredis_ssl (hiredis 1.0 or "
             "newer). deploy/install-deps.sh installs it; then build again");
    return false;
}

struct redis_tls *redis_tls_begin(redisContext *connection, const struct redis_tls_files *files,
                                  const char *host, char *why, size_t why_size) {
    (void)redis_tls_available(why, why_size);
    return NULL;
}

void redis_tls_end(struct redis_tls *tls, bool answered, char *why, size_t why_size) {
    assert(false);
}

#endif
