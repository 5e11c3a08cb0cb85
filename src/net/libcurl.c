#include "net/libcurl.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"
#include "util/error.h"

/* Debian's flavour on OpenSSL, in the ABI of the header we were compiled with. */
#define LIBRARY "libcurl.so.4"
#define OLDEST 0x075700 /* 7.87.0: CURLOPT_QUICK_EXIT */

struct fg_libcurl_load {
	struct fg_connector_job job;
	void (*done)(void *arg, struct fg_libcurl *curl, int error, const char *text);
	void *arg;
	bool is_cancelled;
	struct fg_libcurl *curl;
	int result;
	struct fg_error error;
};

static const struct {
	const char *name;
	size_t offset;
} functions[] = {
#define X(name) {"curl_" #name, offsetof(struct fg_libcurl, name)},
	FG_LIBCURL_FUNCTIONS(X)
#undef X
};

static int find_functions(void *library, struct fg_libcurl *curl, struct fg_error *err)
{
	for (size_t i = 0; i < sizeof(functions) / sizeof(functions[0]); i++) {
		void *function = dlsym(library, functions[i].name);

		if (!function)
			return fg_error_set(err, -ELIBACC, "%s: too old, it has no %s()", LIBRARY,
					    functions[i].name);
		memcpy((char *)curl + functions[i].offset, &function, sizeof(function));
	}
	return 0;
}

/* Others have the same ABI, but not the same behaviour. */
static int check_features(const struct fg_libcurl *curl, struct fg_error *err)
{
	const curl_version_info_data *info = curl->version_info(CURLVERSION_NOW);

	if (info->version_num < OLDEST)
		return fg_error_set(err, -ELIBACC, "%s: version %s, need 7.87 or newer", LIBRARY,
				    info->version);
	if (!info->ssl_version || !strstr(info->ssl_version, "OpenSSL"))
		return fg_error_set(err, -ELIBACC, "%s: not built with OpenSSL", LIBRARY);
	if (!(info->features & CURL_VERSION_ASYNCHDNS))
		return fg_error_set(err, -ELIBACC, "%s: its name lookup blocks", LIBRARY);
	return 0;
}

static int load_and_initialise(struct fg_libcurl **ret, struct fg_error *err)
{
	FG_CLEANUP(fg_free_p) struct fg_libcurl *curl = calloc(1, sizeof(*curl));
	void *library;
	int r;

	if (!curl)
		return -ENOMEM;
	library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	if (!library)
		return fg_error_set(err, -ELIBACC, "%s", dlerror());
	r = find_functions(library, curl, err);
	if (r == 0)
		r = check_features(curl, err);
	dlclose(library); /* RTLD_NODELETE: it stays */
	if (r < 0)
		return r;
	if (curl->global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
		return fg_error_set(err, -ELIBACC, "%s: cannot be initialised", LIBRARY);

	*ret = curl; /* the caller owns it now */
	curl = NULL;
	return 0;
}

struct fg_libcurl *fg_libcurl_free(struct fg_libcurl *curl)
{
	if (!curl)
		return NULL;
	curl->global_cleanup();
	free(curl);
	return NULL;
}

static struct fg_libcurl_load *load_of(struct fg_connector_job *job)
{
	return (struct fg_libcurl_load *)((char *)job - offsetof(struct fg_libcurl_load, job));
}

static void load_work(struct fg_connector_job *job)
{
	struct fg_libcurl_load *load = load_of(job);

	load->result = load_and_initialise(&load->curl, &load->error);
}

static void load_orphaned(struct fg_connector_job *job)
{
	struct fg_libcurl_load *load = load_of(job);

	fg_libcurl_free(load->curl);
	free(load);
}

static void load_done(struct fg_connector_job *job)
{
	struct fg_libcurl_load *load = load_of(job);

	if (load->is_cancelled) {
		load_orphaned(job);
		return;
	}
	load->done(load->arg, load->curl, load->result, load->error.text);
	free(load);
}

int fg_libcurl_load(struct fg_connector *connector,
		    void (*done)(void *arg, struct fg_libcurl *curl, int error, const char *text),
		    void *arg, struct fg_libcurl_load **ret)
{
	struct fg_libcurl_load *load = calloc(1, sizeof(*load));
	int r;

	if (!load)
		return -ENOMEM;
	load->job.work = load_work;
	load->job.done = load_done;
	load->job.orphaned = load_orphaned;
	load->done = done;
	load->arg = arg;
	r = fg_connector_run(connector, &load->job);
	if (r < 0)
		free(load);
	else
		*ret = load;
	return r;
}

void fg_libcurl_load_cancel(struct fg_libcurl_load *load)
{
	load->is_cancelled = true;
}
