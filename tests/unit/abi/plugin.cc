// The header alone in C++17, and a plugin that is written in it.
#include <fieldgate/plugin.h>

extern "C" {
static int plugin_open(const struct fg_open *, void **ret_ctx, char *, size_t)
{
	*ret_ctx = nullptr;
	return 0;
}
}

const fg_option options[] = {{}};

static constexpr struct fg_plugin make()
{
	struct fg_plugin p = {};

	p.abi = FG_PLUGIN_ABI;
	p.size = sizeof(p);
	p.name = "cpp";
	p.options = options;
	p.open = plugin_open;
	return p;
}

const struct fg_plugin fg_plugin = make();
