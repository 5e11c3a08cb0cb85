#include "control/roundtrip.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "control/output.h"
#include "control/roundtrip_cloud.h"
#include "control/roundtrip_disk.h"
#include "control/roundtrip_field.h"
#include "control/roundtrip_hops.h"
#include "util/clock.h"
#include "util/span.h"

#define POLL_MIN_MS 2
#define POLL_MAX_MS 500
/* The broker's copy of an answer may come behind the cloud's. */
#define COPY_MS 500
/* How far the stamp in the cloud may be from the moment of publishing: … */
#define MARKED_SPAN_US                                                                             \
	(INT64_C(86400) * 1000000) /* … the value is unique, the clocks are not one */
#define PLAIN_SPAN_US (INT64_C(60) * 1000000)

struct run {
	struct fg_roundtrip *rt;
	struct fg_hops hops;
	struct fg_http *http;
	struct fg_rest_client *cloud;
	struct fg_field *field;
	struct fg_daemon_view before; /* of the reading */
	int64_t published_us;         /* UTC */

	/* the way down, as the field broker shows it */
	bool is_listening; /* the command is on its way */
	bool is_deaf;      /* the broker does not let us listen */
	bool is_got, is_answered;
	int64_t got_us, answered_us;  /* monotonic */
	struct fg_error answer_fault; /* why we could not answer in the device's place */
};

static int64_t since(int64_t begin_us)
{
	return fg_patience_now_us() - begin_us;
}

/* Turn the loop for a while; each time a little longer. */
static void rest_a_little(struct run *x, int64_t *ms)
{
	bool is_never = false;

	fg_patience_wait(x->rt->loop, &is_never, *ms);
	*ms = *ms * 2 > POLL_MAX_MS ? POLL_MAX_MS : *ms * 2;
}

/* ------------------------------------------------------------------ what to do about it */

static const char *cloud_advice(const struct fg_rest_outcome *o)
{
	if (o->is_unreachable)
		return "is the url in the account file right, does this machine reach it, and does "
		       "ca (if its certificate is private) name its authority?";
	switch (o->fault) {
	case FG_REST_FAULT_ACCOUNT:
		return "check what the account file says against a login by hand";
	case FG_REST_FAULT_FORBIDDEN:
		return "use an account that may read and command the device, such as a tenant "
		       "administrator";
	case FG_REST_FAULT_UNKNOWN:
		return "may the gateway make devices there? Look at its log, and at "
		       "\"fieldgatectl quarantine list\"; if the device has another name there, "
		       "say "
		       "it with --cloud-device";
	case FG_REST_FAULT_MISSING:
		return "does the backlog of \"fieldgatectl status\" fall? If not, the log says "
		       "why; "
		       "if it does, the cloud took the reading and keeps it elsewhere";
	case FG_REST_FAULT_OFFLINE:
		return "has the gateway told the cloud that the device is there? A device that has "
		       "sent nothing yet is not; \"fieldgatectl status\" says whether the link is "
		       "online";
	case FG_REST_FAULT_SILENT:
		return "does the device listen, and answer in time? Its topics are those above; "
		       "--answer tries without it";
	case FG_REST_FAULT_REFUSED:
		return "the log of the gateway tells what became of the command; the code says who "
		       "refused it";
	case FG_REST_FAULT_LIMIT:
		return "try again in a minute, or raise the limits of the tenant";
	case FG_REST_FAULT_OTHER:
		break;
	}
	return "is the url in the account file that of the cloud's REST interface?";
}

static void cloud_failed(struct run *x, enum fg_hop hop, const struct fg_rest_outcome *o)
{
	fg_hops_failed(&x->hops, hop, o->took_us, cloud_advice(o), "%s", o->text);
}

/* ------------------------------------------------------------------ the start */

static bool hop_gateway(struct run *x)
{
	const struct fg_roundtrip *rt = x->rt;
	int64_t begin_us = fg_patience_now_us(), pause_ms = POLL_MIN_MS;
	struct fg_error err = {0};
	int r;

	do {
		r = fg_daemon_look(rt->with.state, rt->link->name, &x->before, &err);
		if (r < 0) {
			fg_hops_failed(
				&x->hops, FG_HOP_GATEWAY, since(begin_us),
				r == -EACCES ? "run this as root"
					     : "start it (systemctl start fieldgate); if it ends, "
					       "its log says why (journalctl -u fieldgate); "
					       "--state names another state directory",
				"%s", err.text);
			return false;
		}
		if (!x->before.has_link) {
			fg_hops_failed(&x->hops, FG_HOP_GATEWAY, since(begin_us),
				       "restart it: it runs with an older configuration",
				       "it runs, but has no link %s", rt->link->name);
			return false;
		}
		if (strcmp(x->before.link_state, "online") == 0) {
			fg_hops_ok(&x->hops, FG_HOP_GATEWAY, since(begin_us),
				   "fieldgate runs, link %s is online", rt->link->name);
			return true;
		}
		rest_a_little(x, &pause_ms);
	} while (since(begin_us) < rt->with.timeout_ms * 1000);
	fg_hops_failed(&x->hops, FG_HOP_GATEWAY, since(begin_us),
		       "its log says what the cloud answers: address, certificate, credentials",
		       "fieldgate runs, but link %s is %s%s%s", rt->link->name,
		       x->before.link_state, x->before.link_why[0] ? ": " : "", x->before.link_why);
	return false;
}

static bool hop_login(struct run *x)
{
	struct fg_rest_question question = {.step = FG_REST_LOGIN};
	struct fg_rest_outcome outcome;

	fg_rest_client_ask(x->cloud, &question, x->rt->with.timeout_ms, &outcome);
	if (outcome.is_done)
		fg_hops_ok(&x->hops, FG_HOP_LOGIN, outcome.took_us, "%s",
			   fg_account_host(x->rt->account)->url);
	else
		cloud_failed(x, FG_HOP_LOGIN, &outcome);
	fg_rest_outcome_release(&outcome);
	return outcome.is_done;
}

/* Something passes between gateway and device. */
static void arrived(void *arg, const struct fg_mqtt_message *m)
{
	struct run *x = arg;
	struct fg_expected *expected = x->rt->expected;
	struct fg_expected_answer answer;
	char result[64];

	if (x->is_got && !x->is_answered && fg_expected_is_answer(expected, m)) {
		x->is_answered = true;
		x->answered_us = fg_patience_now_us();
	}
	if (!x->is_listening || x->is_got || !fg_expected_is_command(expected, m))
		return;
	x->is_got = true;
	x->got_us = fg_patience_now_us();
	if (!x->rt->with.is_answering)
		return;
	snprintf(result, sizeof(result), "{\"" FG_READING_KEY "\":%" PRId64 "}", x->rt->marker);
	if (fg_expected_answer(expected, m, result, &answer, &x->answer_fault) == 0)
		fg_field_post(x->field, &(struct fg_mqtt_publish){
						.topic = answer.topic,
						.payload = fg_span_str(answer.payload),
						.qos = 1,
						.correlation = answer.correlation,
					});
}

static bool listen(struct run *x, const char *filter, struct fg_error *err)
{
	int r = filter ? fg_field_subscribe(x->field, filter, x->rt->with.timeout_ms, err) : 0;

	if (r == -EACCES)
		x->is_deaf = true;
	return r == 0 || r == -EACCES;
}

static bool hop_broker(struct run *x)
{
	const struct fg_roundtrip *rt = x->rt;
	int64_t begin_us = fg_patience_now_us();
	struct fg_error err = {0};
	bool is_done;

	is_done = fg_field_open(rt->loop, rt->connector, rt->broker, rt->with.timeout_ms, arrived,
				x, &x->field, &err) == 0 &&
		  (!rt->expected || (listen(x, fg_expected_command_filter(rt->expected), &err) &&
				     listen(x, fg_expected_answer_filter(rt->expected), &err)));
	if (is_done)
		fg_hops_ok(&x->hops, FG_HOP_BROKER, since(begin_us), "%s, %s:%u", rt->broker->name,
			   rt->broker->url.host, rt->broker->url.port);
	else
		fg_hops_failed(&x->hops, FG_HOP_BROKER, since(begin_us),
			       "does the broker run, and do url, username and password of "
			       "local.brokers let a second client in?",
			       "%s, %s:%u: %s", rt->broker->name, rt->broker->url.host,
			       rt->broker->url.port, err.text);
	return is_done;
}

/* ------------------------------------------------------------------ up */

static bool hop_publish(struct run *x)
{
	const struct fg_reading *reading = &x->rt->reading;
	int64_t begin_us = fg_patience_now_us();
	struct fg_error err = {0};
	int r;

	x->published_us = fg_clock_utc_us();
	r = fg_field_publish(x->field, reading->topic, fg_span_str(reading->payload),
			     x->rt->with.timeout_ms, &err);
	if (r < 0)
		fg_hops_failed(&x->hops, FG_HOP_PUBLISH, since(begin_us),
			       "may the user of local.brokers publish on this topic? The broker's "
			       "log tells",
			       "%s: %s", reading->topic, err.text);
	else
		fg_hops_ok(&x->hops, FG_HOP_PUBLISH, since(begin_us),
			   "%s %s, acknowledged by the broker", reading->topic, reading->payload);
	return r == 0;
}

static void not_on_disk(struct run *x, int64_t took_us, const char *why)
{
	struct fg_daemon_view now;
	struct fg_error err = {0};
	bool is_refused = fg_daemon_look(x->rt->with.state, x->rt->link->name, &now, &err) == 0 &&
			  now.n_quarantined > x->before.n_quarantined;

	fg_hops_failed(&x->hops, FG_HOP_ON_DISK, took_us,
		       is_refused ? "something came into quarantine meanwhile: \"fieldgatectl "
				    "quarantine list\""
				  : "does the broker send the gateway what is published on this "
				    "topic? Its status says whether the gateway is online there",
		       "%s", why);
}

static bool hop_on_disk(struct run *x)
{
	const struct fg_roundtrip *rt = x->rt;
	enum fg_lane lane = rt->reading.is_alarm ? FG_LANE_ALARM : FG_LANE_MAIN;
	struct fg_disk_search search = {
		.state = rt->with.state,
		.device = rt->with.device,
		.key = rt->reading.key,
		.value = rt->reading.value,
		.is_alarm = rt->reading.is_alarm,
		.from_seq = x->before.next_seq[lane],
	};
	int64_t begin_us = fg_patience_now_us(), pause_ms = POLL_MIN_MS;
	struct fg_error err = {0};
	struct fg_daemon_view now;
	uint64_t seq = 0;
	int r = 0;

	while (since(begin_us) < rt->with.timeout_ms * 1000) {
		if (r == 0)
			r = fg_disk_find(&search, &seq, &err);
		/* What a file shows need not be on the disk yet: the daemon knows. */
		if (r > 0 && fg_daemon_look(rt->with.state, rt->link->name, &now, &err) < 0)
			r = -ENOTCONN;
		if (r > 0 && now.synced_seq[lane] >= seq) {
			fg_hops_ok(&x->hops, FG_HOP_ON_DISK, since(begin_us),
				   "record %" PRIu64 " of lane %s is synced", seq,
				   rt->reading.is_alarm ? "alarm" : "main");
			return true;
		}
		if (r < 0) {
			not_on_disk(x, since(begin_us), err.text);
			return false;
		}
		rest_a_little(x, &pause_ms);
	}
	not_on_disk(x, since(begin_us), r > 0 ? "written, but not synced" : "it is not there");
	return false;
}

static bool hop_in_cloud(struct run *x)
{
	const struct fg_roundtrip *rt = x->rt;
	const struct fg_reading *reading = &rt->reading;
	int64_t span_us = reading->is_marked ? MARKED_SPAN_US : PLAIN_SPAN_US;
	struct fg_rest_question question = {
		.step = FG_REST_DEVICE,
		.device = fg_span_str(rt->cloud_device),
		.key = fg_span_str(reading->key),
		.value = fg_span_str(reading->value),
		.from_us = reading->has_time ? reading->time_us : x->published_us - span_us,
		.to_us = reading->has_time ? reading->time_us : x->published_us + span_us,
	};
	int64_t begin_us = fg_patience_now_us();
	char stamp[FG_TIME_TEXT_MAX];
	struct fg_rest_outcome o;

	fg_rest_client_ask(x->cloud, &question, rt->with.timeout_ms, &o);
	if (o.is_done) {
		fg_rest_outcome_release(&o);
		question.step = FG_REST_READING;
		fg_rest_client_ask(x->cloud, &question, rt->with.timeout_ms, &o);
	}
	o.took_us = since(begin_us);
	if (o.is_done)
		fg_hops_ok(&x->hops, FG_HOP_IN_CLOUD, o.took_us, "\"%s\" has %s = %s, stamped %s",
			   rt->cloud_device, reading->key, reading->value,
			   fg_time_text(o.time_us, stamp));
	else
		cloud_failed(x, FG_HOP_IN_CLOUD, &o);
	fg_rest_outcome_release(&o);
	return o.is_done;
}

/* ------------------------------------------------------------------ down */

static bool show_command(struct run *x, const struct fg_rest_outcome *o, int64_t begin_us)
{
	const char *filter = fg_expected_command_filter(x->rt->expected);

	if (x->is_deaf)
		fg_hops_unseen(&x->hops, FG_HOP_COMMAND, "the broker does not let us subscribe %s",
			       filter);
	else if (x->is_got)
		fg_hops_ok(&x->hops, FG_HOP_COMMAND, x->got_us - begin_us, "seen on %s", filter);
	else if (o->is_done)
		fg_hops_unseen(&x->hops, FG_HOP_COMMAND,
			       "nothing came on %s: the gateway's configuration is another",
			       filter);
	else
		fg_hops_failed(&x->hops, FG_HOP_COMMAND, o->took_us, cloud_advice(o),
			       "nothing came on %s: %s", filter, o->text);
	return x->is_got || x->is_deaf || o->is_done;
}

static void show_answer(struct run *x, const struct fg_rest_outcome *o)
{
	const char *filter = fg_expected_answer_filter(x->rt->expected);

	if (!filter)
		fg_hops_unseen(&x->hops, FG_HOP_ANSWER,
			       "its rule asks the device for none: the broker's "
			       "acknowledgement counts");
	else if (x->is_answered)
		fg_hops_ok(&x->hops, FG_HOP_ANSWER, x->answered_us - x->got_us, "seen on %s",
			   filter);
	else if (x->is_deaf || !x->is_got || o->is_done)
		fg_hops_unseen(&x->hops, FG_HOP_ANSWER, "it does not show at the broker");
	else if (x->answer_fault.text[0])
		fg_hops_failed(&x->hops, FG_HOP_ANSWER, since(x->got_us), "leave --answer out",
			       "not given: %s", x->answer_fault.text);
	else
		fg_hops_failed(&x->hops, FG_HOP_ANSWER, since(x->got_us),
			       "does the device run, listen to that topic, and answer on this "
			       "one? --answer tries without it",
			       "nothing came on %s", filter);
}

static void show_rest_answer(struct run *x, const struct fg_rest_outcome *o, int64_t begin_us)
{
	int64_t all_us = o->took_us, before_us = 0;
	char marker[24];

	if (x->is_answered)
		before_us = x->answered_us - begin_us;
	else if (x->is_got)
		before_us = x->got_us - begin_us;
	snprintf(marker, sizeof(marker), "%" PRId64, x->rt->marker);
	if (!o->is_done && o->is_unreachable && x->is_got)
		fg_hops_failed(&x->hops, FG_HOP_REST_ANSWER, all_us,
			       "the cloud sent the command, and waits for the device; a larger "
			       "--timeout lets it wait as long as it does",
			       "%s", o->text);
	else if (!o->is_done)
		fg_hops_failed(&x->hops, FG_HOP_REST_ANSWER, all_us, cloud_advice(o), "%s",
			       o->text);
	else if (x->rt->with.is_answering && fg_expected_answer_filter(x->rt->expected) &&
		 (!o->answer || !strstr(o->answer, marker)))
		fg_hops_failed(&x->hops, FG_HOP_REST_ANSWER, all_us,
			       "does the device answer, too? Then leave --answer out",
			       "another answer than was given: %s", o->answer ? o->answer : "none");
	else
		fg_hops_ok(&x->hops, FG_HOP_REST_ANSWER,
			   all_us > before_us ? all_us - before_us : 0, "%s",
			   o->answer ? o->answer : "done, without an answer");
}

static void go_down(struct run *x)
{
	const struct fg_roundtrip *rt = x->rt;
	struct fg_rest_question question = {
		.step = FG_REST_COMMAND,
		.device = fg_span_str(rt->cloud_device),
		.command = fg_span_str(rt->with.method),
		.params = fg_span_str(rt->with.params ? rt->with.params : "{}"),
		.timeout_ms = rt->with.timeout_ms,
	};
	int64_t begin_us = fg_patience_now_us();
	struct fg_rest_outcome o;

	fg_hops_say(&x->hops, "command %s %.*s", rt->with.method, FG_SPAN_ARGS(question.params));
	x->is_listening = true;
	fg_rest_client_ask(x->cloud, &question, rt->with.timeout_ms, &o);
	if (o.is_done && x->is_got && fg_expected_answer_filter(rt->expected))
		fg_patience_wait(rt->loop, &x->is_answered, COPY_MS);
	if (show_command(x, &o, begin_us)) {
		show_answer(x, &o);
		show_rest_answer(x, &o, begin_us);
	}
	fg_rest_outcome_release(&o);
}

/* ------------------------------------------------------------------ all of it */

static bool go_up(struct run *x)
{
	const struct fg_roundtrip *rt = x->rt;

	fg_hops_say(&x->hops, "link %s, device \"%s\"%s%s%s", rt->link->name, rt->with.device,
		    strcmp(rt->with.device, rt->cloud_device) != 0 ? ", there \"" : "",
		    strcmp(rt->with.device, rt->cloud_device) != 0 ? rt->cloud_device : "",
		    strcmp(rt->with.device, rt->cloud_device) != 0 ? "\"" : "");
	if (!hop_gateway(x) || !hop_login(x) || !hop_broker(x))
		return false;
	fg_hops_say(&x->hops, "reading %s = %s", rt->reading.key, rt->reading.value);
	return hop_publish(x) && hop_on_disk(x) && hop_in_cloud(x);
}

bool fg_roundtrip_run(struct fg_roundtrip *rt)
{
	struct run x = {.rt = rt};
	struct fg_error err = {0};
	bool is_ok = false;

	fg_hops_begin(&x.hops, stdout, rt->with.is_json, rt->expected != NULL);
	if (fg_http_new(rt->loop, rt->connector, &x.http) < 0 ||
	    fg_rest_client_new(rt->loop, x.http, rt->rest, rt->account, rt->link_values, &x.cloud,
			       &err) < 0) {
		fprintf(stderr, "fieldgatectl: %s: %s\n", rt->with.account,
			err.text[0] ? err.text : "out of memory");
	} else {
		if (go_up(&x) && rt->expected)
			go_down(&x);
		is_ok = fg_hops_end(&x.hops);
	}
	fg_field_free(x.field);
	fg_rest_client_free(x.cloud);
	fg_http_free(x.http);
	return is_ok;
}
