#pragma once

/*
 * What the parts of the gateway share: gateway.c builds the stages and takes them down again,
 * gateway_journal.c hears the journal and the clock, gateway_downlink.c joins what comes down from
 * clouds to the field side, gateway_status.c tells, gateway_control.c and gateway_quarantine.c do what
 * fieldgatectl asks for.
 */
#include "cloud/link.h"
#include "cloud/plugin_host.h"
#include "control/server.h"
#include "gateway.h"
#include "journal/journal.h"
#include "local/broker_client.h"
#include "local/configs.h"
#include "local/images.h"
#include "local/intake.h"
#include "net/http_client.h"
#include "util/complaint.h"
#include "util/timekeeper.h"

/* One configured cloud, before and after it has become a link. */
struct fg_gateway_cloud {
	struct fg_plugin_handle *plugin;
	struct fg_value *values;
	struct fg_link *link;
};

struct fg_gateway {
	struct fg_config *config;
	struct ev_loop *loop;
	struct fg_gateway_cloud *clouds;   /* config->n_clouds */
	struct fg_broker_client **brokers; /* config->n_brokers */
	struct fg_mapping *mapping;
	struct fg_command_map *command_map;
	struct fg_connector *connector;
	struct fg_http *http;
	struct fg_fs *fs;
	struct fg_journal *journal;
	struct fg_timekeeper *timekeeper;
	struct fg_presence *presence;
	struct fg_requests *requests;
	struct fg_configs *configs;
	struct fg_images *images;
	struct fg_command_desk *desk;
	struct fg_intake *intake;
	struct fg_control *control;
	struct fg_gateway_quarantine *quarantine;
	int lock_fd;
	ev_async committed;     /* from the journal's writer thread */
	ev_prepare before_wait; /* hands over what has gathered in this turn of the loop */
	ev_timer tick;          /* each second */
	ev_timer commit_interval;
	ev_timer desk_due;
	int64_t desk_due_ms; /* that it is set to; INT64_MAX: it is not */
	ev_timer stop_limit;
	size_t n_running; /* brokers or links that have not stopped yet */
	bool is_started, is_stopping, links_stopping;
	int64_t started_ms; /* monotonic */
	bool is_stuck;      /* the disk refuses: what brokers wait for will not come */
	char stuck_why[160];
	struct fg_complaint clock_steps, clock_file;
	struct fg_complaint trouble, full;
};

/* ---- gateway_journal.c */

/** Open the timekeeper, then the journal, with callbacks that go round all stages. */
int fg_gateway_open_timekeeper(struct fg_gateway *g);
int fg_gateway_open_journal(struct fg_gateway *g, struct fg_error *err);

/** ev_async: the journal's writer thread has something to tell. */
void fg_gateway_journal_woke(struct ev_loop *loop, ev_async *w, int events);

/** Each second. */
void fg_gateway_look_at_clock(struct fg_gateway *g);

/* ---- gateway_downlink.c */

/** Make desk, presence, requests, configurations, images and intake; the journal is open. */
int fg_gateway_open_downlink(struct fg_gateway *g, struct fg_error *err);

/** And release them. */
void fg_gateway_close_downlink(struct fg_gateway *g);

/** What links get to call. */
struct fg_link_downlink fg_gateway_downlink(struct fg_gateway *g);

/** For fg_broker_client_options. */
void fg_gateway_broker_changed(void *arg, struct fg_broker_client *b, bool is_online);
void fg_gateway_published(void *arg, uint64_t tag, unsigned reason_code);

/** Each second, and before the loop waits. */
void fg_gateway_tick_downlink(struct fg_gateway *g, int64_t now_ms);
void fg_gateway_arm_desk(struct fg_gateway *g, int64_t now_ms);

/* ---- gateway_control.c */

/** Listen for fieldgatectl; and stop. */
int fg_gateway_open_control(struct fg_gateway *g, struct fg_error *err);
void fg_gateway_close_control(struct fg_gateway *g);

/* ---- gateway_quarantine.c */

/** Returns 0 or -ENOMEM. */
int fg_gateway_open_quarantine(struct fg_gateway *g);
void fg_gateway_close_quarantine(struct fg_gateway *g);

/** Commands of the control socket, for struct fg_control_command; and a client that has gone. */
void fg_gateway_quarantine_retry(void *arg, struct fg_control_call *call,
				 struct fg_json_value request);
void fg_gateway_quarantine_drop(void *arg, struct fg_control_call *call,
				struct fg_json_value request);
void fg_gateway_quarantine_gone(struct fg_gateway *g, const struct fg_control_call *call);

/** The journal has committed up to @ticket. */
void fg_gateway_quarantine_committed(struct fg_gateway *g, uint64_t ticket);

/* ---- gateway.c */

/** The cloud called @name, or NULL. */
struct fg_link *fg_gateway_link(const struct fg_gateway *g, const char *name);
