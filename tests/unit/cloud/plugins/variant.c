/* One source for all the plugins that test_plugin_host.c loads; the build says with -D what is odd
 * about each. */
#include <errno.h>
#include <stddef.h>

#include "fieldgate/plugin.h"

#ifndef VARIANT_NAME
#define VARIANT_NAME "good"
#endif
#ifndef VARIANT_ABI
#define VARIANT_ABI FG_PLUGIN_ABI
#endif
#ifndef VARIANT_SIZE
#define VARIANT_SIZE sizeof(struct fg_plugin)
#endif

#ifdef VARIANT_NO_PLUGIN
FG_PLUGIN_EXPORT const int something_else = 1;
#else

static const struct fg_option options[] = {
	{.name = "one", .type = FG_OPTION_STRING},
	{.name = "two", .type = FG_OPTION_INTEGER},
	{0},
};

static int variant_open(const struct fg_open *with, void **ret_ctx, char *error, size_t error_size)
{
	(void)with;
	(void)ret_ctx;
	(void)error;
	(void)error_size;
	return 0;
}

static void variant_close(void *ctx)
{
	(void)ctx;
}

static int variant_connect(void *ctx, const struct fg_connect_request *request,
			   struct fg_connect *out)
{
	(void)ctx;
	(void)request;
	(void)out;
	return 0;
}

#ifndef VARIANT_NO_ENCODE
static int variant_encode(void *ctx, const char *session, struct fg_batch *batch,
			  struct fg_publish *out)
{
	(void)ctx;
	(void)session;
	(void)batch;
	(void)out;
	return 0;
}
#endif

static int variant_receive(void *ctx, const char *session, const struct fg_delivery *delivery)
{
	(void)ctx;
	(void)session;
	(void)delivery;
	return -EPROTO;
}

FG_PLUGIN_EXPORT const struct fg_plugin fg_plugin = {
	.abi = VARIANT_ABI,
	.size = VARIANT_SIZE,
	.name = VARIANT_NAME,
	.options = options,
	.open = variant_open,
	.close = variant_close,
	.connect = variant_connect,
#ifndef VARIANT_NO_ENCODE
	.encode = variant_encode,
#endif
	.receive = variant_receive,
};
#endif
