/*
 * fieldgate, the daemon: arguments, configuration, loop, exit status. Owns the one struct
 * fg_gateway.
 */
#include <errno.h>
#include <ev.h>
#include <getopt.h>
#include <malloc.h>
#include <mosquitto.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/config.h"
#include "gateway.h"
#include "util/log.h"
#include "util/notify.h"

#define EXIT_USAGE 2
#define LARGE_BYTES (64 << 10)

static const char usage_text[] =
	"Usage: fieldgate [--config FILE] [--check] [options]\n"
	"Carries telemetry from MQTT field devices to one or several IoT clouds.\n"
	"\n"
	"  -c, --config FILE      configuration (default " FG_CONFIG_FILE ")\n"
	"      --check            read the configuration, report every mistake, start nothing\n"
	"      --plugin-dir DIR   look for plugins here (default: gateway.plugin_directory)\n"
	"      --syslog           log to syslog(3) instead of standard error\n"
	"      --log-level LEVEL  error, warning, notice, info (default) or debug\n"
	"      --version          print the version\n"
	"  -h, --help             print this text\n"
	"\n"
	"Signals: SIGTERM and SIGINT stop in order; SIGUSR1 writes a status line for each link to "
	"the log.\n"
	"Exit status: 0 stopped as asked, or configuration in order; 1 configuration or start-up "
	"failed;\n"
	"2 wrong arguments.\n";

struct arguments {
	const char *config;
	const char *plugin_directory;
	bool is_check;
	bool is_syslog;
	int log_level;
};

static int parse_level(const char *text)
{
	static const struct {
		const char *name;
		int level;
	} levels[] = {{"error", LOG_ERR},
		      {"warning", LOG_WARNING},
		      {"notice", LOG_NOTICE},
		      {"info", LOG_INFO},
		      {"debug", LOG_DEBUG}};

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(levels[i].name, text) == 0)
			return levels[i].level;
	return -1;
}

/* Returns -1 to go on, or an exit status. */
static int parse_arguments(int argc, char **argv, struct arguments *args)
{
	enum { CHECK = 256, PLUGIN_DIR, SYSLOG, LOG_LEVEL, VERSION };
	static const struct option options[] = {{"config", required_argument, NULL, 'c'},
						{"check", no_argument, NULL, CHECK},
						{"plugin-dir", required_argument, NULL, PLUGIN_DIR},
						{"syslog", no_argument, NULL, SYSLOG},
						{"log-level", required_argument, NULL, LOG_LEVEL},
						{"version", no_argument, NULL, VERSION},
						{"help", no_argument, NULL, 'h'},
						{0}};
	int c;

	while ((c = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (c) {
		case 'c':
			args->config = optarg;
			break;
		case CHECK:
			args->is_check = true;
			break;
		case PLUGIN_DIR:
			args->plugin_directory = optarg;
			break;
		case SYSLOG:
			args->is_syslog = true;
			break;
		case LOG_LEVEL:
			args->log_level = parse_level(optarg);
			if (args->log_level < 0) {
				fprintf(stderr,
					"fieldgate: --log-level: expected error, warning, notice, "
					"info "
					"or debug, got \"%s\"\n",
					optarg);
				return EXIT_USAGE;
			}
			break;
		case VERSION:
			puts("fieldgate " FG_VERSION);
			return EXIT_SUCCESS;
		case 'h':
			fputs(usage_text, stdout);
			return EXIT_SUCCESS;
		default:
			fputs("Try \"fieldgate --help\".\n", stderr);
			return EXIT_USAGE;
		}
	}
	if (optind < argc) {
		fprintf(stderr,
			"fieldgate: unexpected argument \"%s\"\nTry \"fieldgate --help\".\n",
			argv[optind]);
		return EXIT_USAGE;
	}
	return -1;
}

/* ---- the loop */

static void on_stop_signal(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)events;
	fg_notice("gateway: %s, stopping", w->signum == SIGTERM ? "SIGTERM" : "SIGINT");
	fg_notify("STOPPING=1");
	fg_gateway_stop(w->data);
}

static void on_status_signal(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)events;
	fg_gateway_log_status(w->data);
}

static void on_reload_signal(struct ev_loop *loop, ev_signal *w, int events)
{
	(void)loop;
	(void)w;
	(void)events;
	fg_notice("gateway: SIGHUP ignored; restart to read the configuration again, nothing is "
		  "lost");
}

static void on_watchdog(struct ev_loop *loop, ev_timer *w, int events)
{
	(void)loop;
	(void)w;
	(void)events;
	fg_notify("WATCHDOG=1");
}

static int run(struct fg_gateway *gateway)
{
	struct ev_loop *loop = ev_default_loop(EVFLAG_NOENV);
	double watchdog_s = (double)fg_notify_watchdog_us() / 2e6; /* twice as often as asked */
	ev_signal term, interrupt, status, reload;
	struct fg_error err = {0};
	ev_timer watchdog;
	int r;

	if (!loop) {
		fg_error_log("gateway: no event loop");
		return EXIT_FAILURE;
	}
	ev_signal_init(&term, on_stop_signal, SIGTERM);
	ev_signal_init(&interrupt, on_stop_signal, SIGINT);
	ev_signal_init(&status, on_status_signal, SIGUSR1);
	ev_signal_init(&reload, on_reload_signal, SIGHUP);
	term.data = interrupt.data = status.data = gateway;
	ev_signal_start(loop, &term);
	ev_signal_start(loop, &interrupt);
	ev_signal_start(loop, &reload);
	ev_timer_init(&watchdog, on_watchdog, watchdog_s, watchdog_s);
	if (watchdog_s > 0)
		ev_timer_start(loop, &watchdog);

	r = fg_gateway_start(gateway, loop, &err);
	if (r < 0) {
		fg_error_log("gateway: %s", err.text[0] ? err.text : strerror(-r));
		return EXIT_FAILURE;
	}
	ev_signal_start(loop, &status);
	fg_notify("READY=1");
	ev_run(loop, 0);
	fg_gateway_log_status(gateway);
	return EXIT_SUCCESS;
}

static void print_report(struct fg_report *report)
{
	for (size_t i = 0; i < fg_report_count(report); i++)
		fprintf(stderr, "%s\n", fg_report_line(report, i));
}

int main(int argc, char **argv)
{
	struct arguments args = {.config = FG_CONFIG_FILE, .log_level = LOG_INFO};
	struct fg_report *report = NULL;
	struct fg_config *config = NULL;
	struct fg_gateway *gateway = NULL;
	int status = parse_arguments(argc, argv, &args);
	int r;

	if (status >= 0)
		return status;
	/* One heap for all threads: they allocate little, and each heap of its own costs resident
	 * memory. */
	mallopt(M_ARENA_MAX, 1);
	/*
	 * What is large comes from the system, untouched, and goes back there. Left alone, the limit
	 * rises with the largest buffer that was ever freed (mallopt(3)); from then on calloc() fills
	 * tables for thousands of devices with zeros in memory that was used before, all resident.
	 */
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	signal(SIGPIPE, SIG_IGN);
	fg_log_open(args.is_syslog ? FG_LOG_SYSLOG : FG_LOG_STDERR, args.log_level);
	mosquitto_lib_init();

	report = fg_report_new();
	r = report ? fg_config_load(args.config, report, &config) : -ENOMEM;
	/* Also when the file has mistakes: one run reports those of plugins and rules too. */
	if (config && r != -ENOMEM) {
		int r2 = fg_gateway_new(config, args.plugin_directory, report, &gateway);

		r = r < 0 ? r : r2;
	}
	if (r < 0) {
		if (report)
			print_report(report);
		if (args.is_syslog)
			for (size_t i = 0; report && i < fg_report_count(report); i++)
				fg_error_log("%s", fg_report_line(report, i));
		if (r == -ENOMEM)
			fputs("fieldgate: out of memory\n", stderr);
		status = EXIT_FAILURE;
	} else if (args.is_check) {
		printf("%s: configuration in order: brokers %zu, mapping rules %zu, clouds %zu\n",
		       args.config, config->n_brokers, config->n_mappings, config->n_clouds);
		status = EXIT_SUCCESS;
	} else {
		fg_notice("gateway %s: fieldgate " FG_VERSION " starting", config->name);
		fg_report_free(report);
		report = NULL;
		status = run(gateway);
	}
	fg_gateway_free(gateway);
	if (status == EXIT_SUCCESS && !args.is_check)
		fg_notice("gateway: stopped");
	fg_config_free(config);
	fg_report_free(report);
	return status;
}
