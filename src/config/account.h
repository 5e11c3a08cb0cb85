#pragma once

/*
 * An account at a cloud's interface for applications (struct fg_rest): a YAML file of its own, which
 * only the operator's tool reads, so that the daemon need not know the password of a person. Strict
 * as the configuration is; secrets are given in the same ways.
 */
#include "config/config.h"

struct fg_account;

/** What stands there, whatever the cloud. Lives as long as the account. */
struct fg_account_host {
	const char *url; /* "https://tb.example.com", without a final slash */
	const char *ca;  /* PEM file or directory; NULL: the system's store */
	bool is_insecure;
};

/**
 * Read the file @path: `url`, `ca`, `insecure`, and what @table, of plugin @plugin, says. On success
 * the caller owns *@ret, which keeps nothing of @table. Returns 0, -ENOMEM, or -EINVAL: every mistake
 * is in @report.
 */
int fg_account_load(const char *path, const char *plugin, const struct fg_option *table,
		    struct fg_report *report, struct fg_account **ret);

/** Release; secrets are overwritten. Takes NULL, returns NULL. */
struct fg_account *fg_account_free(struct fg_account *account);

const struct fg_account_host *fg_account_host(const struct fg_account *account);

/** One for each entry of the table. */
const struct fg_value *fg_account_values(const struct fg_account *account);

static inline void fg_account_free_p(struct fg_account **account)
{
	fg_account_free(*account);
}
