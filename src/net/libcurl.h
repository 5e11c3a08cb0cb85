#pragma once

/*
 * The functions of libcurl that we use, found at run time. Debian's libcurl brings 28 more
 * libraries (LDAP, Kerberos, SSH …) and costs 4.6 MiB of resident memory, half of the budget, and
 * most gateways never fetch a file: so it is loaded when the first request is made.
 */
#include <curl/curl.h>

#include "net/connector.h"

/* name of the member, and of libcurl's function behind "curl_" */
#define FG_LIBCURL_FUNCTIONS(X)                                                                    \
	X(global_init)                                                                             \
	X(global_cleanup)                                                                          \
	X(version_info)                                                                            \
	X(free)                                                                                    \
	X(multi_init)                                                                              \
	X(multi_cleanup)                                                                           \
	X(multi_setopt)                                                                            \
	X(multi_add_handle)                                                                        \
	X(multi_remove_handle)                                                                     \
	X(multi_socket_action)                                                                     \
	X(multi_info_read)                                                                         \
	X(easy_init)                                                                               \
	X(easy_cleanup)                                                                            \
	X(easy_setopt)                                                                             \
	X(easy_getinfo)                                                                            \
	X(easy_pause)                                                                              \
	X(easy_header)                                                                             \
	X(easy_strerror)                                                                           \
	X(slist_append)                                                                            \
	X(slist_free_all)                                                                          \
	X(url)                                                                                     \
	X(url_cleanup)                                                                             \
	X(url_set)                                                                                 \
	X(url_get)

struct fg_libcurl {
#define X(name) __typeof__(curl_##name) *name;
	FG_LIBCURL_FUNCTIONS(X)
#undef X
};

struct fg_libcurl_load;

/**
 * Load libcurl and initialise it, on a thread, since that reads many files. @done is told, later
 * and on the loop: error 0 and a table that it owns, or -ENOMEM, or -ELIBACC and a sentence. It
 * stays loaded: libraries below it cannot be unloaded safely.
 *
 * *@ret is valid until done() or fg_libcurl_load_cancel(). Returns 0, -ENOMEM, or as
 * fg_connector_run().
 */
int fg_libcurl_load(struct fg_connector *connector,
		    void (*done)(void *arg, struct fg_libcurl *curl, int error, const char *text),
		    void *arg, struct fg_libcurl_load **ret);

/** Nobody waits for it any more: done() will not be called. */
void fg_libcurl_load_cancel(struct fg_libcurl_load *load);

/** Takes NULL, returns NULL. */
struct fg_libcurl *fg_libcurl_free(struct fg_libcurl *curl);
