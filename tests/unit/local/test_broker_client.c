#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "../cloud/fake_journal.h"
#include "../cloud/fake_mqtt.h"
#include "local/broker_client.h"
#include "util/log.h"

#define MAX_MESSAGE 1000
#define ROOM 5000

static struct fg_journal journal;
static struct fg_broker_config config;
static struct fg_broker_client *broker;
static struct fg_intake *intake;
static bool has_commands;
static int desk_result;
static unsigned n_online, n_offline, n_acked;
static uint64_t last_tag;
static unsigned last_reason;
static unsigned n_stopped;
static bool frees_in_stopped;

/* ---- mapping rules for tests: the topic says what becomes of a message */

size_t fg_mapping_filters(const struct fg_mapping *m, const char *const **ret_filters)
{
	static const char *const filters[] = {"sensors/+/climate", "alarms/#"};

	(void)m;
	*ret_filters = filters;
	return 2;
}

size_t fg_mapping_room(const struct fg_mapping *m, size_t topic_bytes, size_t payload_bytes)
{
	(void)m;
	assert_int_equal(topic_bytes, 65535);
	assert_int_equal(payload_bytes, MAX_MESSAGE);
	return ROOM;
}

int fg_mapping_apply(struct fg_mapping *m, const struct fg_arrival *arrival, fg_mapping_emit emit,
		     void *arg, struct fg_error *ret_reason)
{
	struct fg_mapped mapped = {
		.msg = {.kind = FG_TELEMETRY, .device = fg_span_str("d")},
	};
	unsigned n = fg_span_is(arrival->topic, "two") ? 2 : 1;

	(void)m;
	if (fg_span_is(arrival->topic, "unmapped"))
		return -ENOENT;
	if (fg_span_is(arrival->topic, "bad"))
		return fg_error_set(ret_reason, -EPROTO, "it is not JSON");
	if (fg_span_is(arrival->topic, "empty"))
		return 0;
	for (unsigned i = 0; i < n; i++) {
		int r = emit(arg, &mapped);

		if (r < 0)
			return r;
	}
	return (int)n;
}

/* ---- and so it does for a command desk */

int fg_command_desk_arrived(struct fg_command_desk *d, const struct fg_command_arrival *arrival,
			    int64_t now_ms)
{
	struct fg_mapped mapped = {.msg = {.kind = FG_COMMAND_RESPONSE}};
	uint64_t seq;

	(void)d;
	(void)now_ms;
	if (fg_span_is(arrival->topic, "one, and a command goes out")) {
		struct fg_mqtt_publish p = {.topic = "cmd/a", .qos = 1};

		assert_int_equal(fg_broker_client_publish(broker, &p, 7), 0);
	}
	if (!fg_span_is(arrival->topic, "answer"))
		return 0;
	if (desk_result > 0)
		fg_journal_append(&journal, FG_LANE_ALARM, &mapped.msg, &seq);
	return desk_result;
}

size_t fg_command_map_filters(const struct fg_command_map *m,
			      const struct fg_command_filter **ret_filters)
{
	static const struct fg_command_filter filters[] = {
		{.filter = "answer"},
		{.filter = "elsewhere", .broker = "another"},
	};

	(void)m;
	*ret_filters = filters;
	return 2;
}

/* ---- the frame */

static void changed(void *arg, struct fg_broker_client *b, bool is_online)
{
	(void)arg;
	(void)b;
	assert_int_equal(fg_broker_client_is_online(b), is_online);
	*(is_online ? &n_online : &n_offline) += 1;
}

static void published(void *arg, uint64_t tag, unsigned reason_code)
{
	(void)arg;
	n_acked++;
	last_tag = tag;
	last_reason = reason_code;
}

static int setup(void **state)
{
	(void)state;
	fake_journal_init(&journal);
	fake_mqtt_reset();
	journal.room = ROOM * 100;
	config = (struct fg_broker_config){
		.name = (char *)"hall2",
		.url = {.host = (char *)"broker.example", .port = 1883},
		.client_id = (char *)"fieldgate-plant7-hall2",
		.qos = 1,
		.keep_alive_s = 60,
		.max_reconnect_delay_ms = 60000,
		.receive_maximum = 4096,
		.session_expiry_s = 604800,
	};
	n_stopped = 0;
	frees_in_stopped = false;
	has_commands = false;
	desk_result = 1;
	n_online = n_offline = n_acked = 0;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	broker = fg_broker_client_free(broker);
	intake = fg_intake_free(intake);
	assert_null(fake_mqtt.client);
	assert_int_equal(fake_timers(), 0);
	fake_journal_done(&journal);
	return 0;
}

/* Nobody looks into it. */
static char something;

static void make(void)
{
	struct fg_intake_options intake_options = {
		.journal = &journal,
		.desk = has_commands ? (struct fg_command_desk *)&something : NULL,
		.max_message_bytes = MAX_MESSAGE,
	};
	struct fg_broker_client_options options = {
		.journal = &journal,
		.config = &config,
		.command_map = has_commands ? (struct fg_command_map *)&something : NULL,
		.seed = 7,
		.changed = changed,
		.published = published,
	};
	struct fg_error err = {0};

	intake = fg_intake_free(intake);
	assert_int_equal(fg_intake_new(&intake_options, &intake), 0);
	options.intake = intake;

	if (fg_broker_client_new(&options, &broker, &err) < 0)
		fail_msg("%s", err.text);
}

static struct fg_broker_client_stats stats(void)
{
	struct fg_broker_client_stats s;

	fg_broker_client_get_stats(broker, &s);
	return s;
}

static void online(void)
{
	make();
	fg_broker_client_start(broker);
	fake_mqtt_connect(65535, 0);
	assert_true(stats().is_online);
	fake_mqtt.n_flushes = 0;
}

static void backing_off(void)
{
	make();
	fg_broker_client_start(broker);
	fake_mqtt_end(FG_MQTT_END_UNREACHABLE, 0);
	assert_null(fake_mqtt.client);
}

/* One turn of the loop with one message in it. */
static bool arrives(const char *topic)
{
	bool is_read = fake_mqtt_deliver(topic, "{}");

	fake_mqtt_after_read();
	return is_read;
}

static void committed(void)
{
	fg_broker_client_committed(broker, fake_journal_commit(&journal));
}

static void has_stopped(void *arg)
{
	assert_ptr_equal(arg, &journal);
	n_stopped++;
	if (frees_in_stopped)
		broker = fg_broker_client_free(broker);
}

static void stop(void)
{
	fg_broker_client_stop(broker, has_stopped, &journal);
}

#define assert_no_puback_left() assert_int_equal(fake_mqtt.n_flushes, 0)

/* ---- the table */

static void a_new_client_connects_nothing(void **state)
{
	(void)state;
	make();
	committed();
	fake_time_pass(100000);
	assert_int_equal(fake_mqtt.n_made, 0);
	assert_string_equal(fg_broker_client_name(broker), "hall2");
	stop();
	assert_int_equal(n_stopped, 1);
}

static void a_session_is_persistent_and_holds_its_writes(void **state)
{
	(void)state;
	config.share = (char *)"fieldgate";
	make();
	fg_broker_client_start(broker);
	fg_broker_client_start(broker);
	assert_int_equal(fake_mqtt.n_made, 1);
	assert_true(fake_mqtt.params.holds_writes);
	assert_false(fake_mqtt.params.clean_start);
	assert_int_equal(fake_mqtt.params.mqtt_version, 5);
	assert_int_equal(fake_mqtt.params.receive_maximum, 4096);
	assert_int_equal(fake_mqtt.params.session_expiry_s, 604800);
	assert_string_equal(fake_mqtt.client_id, "fieldgate-plant7-hall2");
	committed();
	fake_mqtt_connect(65535, 0);
	assert_string_equal(fake_mqtt.filter, "$share/fieldgate/sensors/+/climate");
	assert_true(fake_mqtt.n_flushes > 0); /* the SUBSCRIBE */
}

static void a_subscription_that_cannot_be_sent_starts_the_session_anew(void **state)
{
	(void)state;
	make();
	fg_broker_client_start(broker);
	fake_mqtt.subscribe_result = -ENOMEM;
	fake_mqtt_connect(65535, 0);
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt.subscribe_result = 0;
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	fake_time_pass(1000);
	fake_mqtt_connect(65535, 0);
	assert_int_equal(fake_mqtt.n_subscribes, 1);
}

static void an_attempt_that_fails_is_repeated_after_a_pause(void **state)
{
	(void)state;
	backing_off();
	committed();
	fake_time_pass(1000);
	assert_int_equal(fake_mqtt.n_made, 2);
	fake_mqtt_connect(65535, 0);
	assert_true(stats().is_online);
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_false(stats().is_online);
	assert_string_equal(stats().why, "it ended");
	assert_in_range(stats().retry_ms, 1, 2000);
	fake_time_pass(2000);
	assert_int_equal(fake_mqtt.n_made, 3);
	assert_string_equal(stats().why, "it ended");
	assert_int_equal(stats().retry_ms, 0);
	fake_mqtt_connect(65535, 0);
	assert_null(stats().why);
}

static void a_client_that_cannot_be_made_is_tried_again_later(void **state)
{
	(void)state;
	make();
	fake_mqtt.new_result = -EAGAIN;
	fg_broker_client_start(broker);
	fake_mqtt.new_result = 0;
	fake_time_pass(1000);
	assert_non_null(fake_mqtt.client);
}

static void wrong_credentials_wait_at_least_a_minute(void **state)
{
	(void)state;
	make();
	fg_broker_client_start(broker);
	fake_mqtt_end(FG_MQTT_END_REFUSED, 0x86);
	fake_time_pass(59999);
	assert_null(fake_mqtt.client);
	fake_time_pass(31000);
	assert_non_null(fake_mqtt.client);
}

static void a_broker_without_mqtt_5_is_asked_again_with_3_1_1_at_once(void **state)
{
	(void)state;
	make();
	fg_broker_client_start(broker);
	fake_mqtt_end(FG_MQTT_END_REFUSED, 1);
	assert_non_null(fake_mqtt.client);
	assert_int_equal(fake_mqtt.params.mqtt_version, 4);
	fake_mqtt_end(FG_MQTT_END_REFUSED, 1);
	assert_null(fake_mqtt.client);
}

static void a_broker_that_speaks_5_no_longer_is_believed(void **state)
{
	(void)state;
	online();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	fake_time_pass(1000);
	fake_mqtt_end(FG_MQTT_END_REFUSED, 0x84);
	assert_non_null(fake_mqtt.client);
	assert_int_equal(fake_mqtt.params.mqtt_version, 4);
}

static void silence_makes_the_other_version_tried(void **state)
{
	static const unsigned versions[] = {5, 4, 5};

	(void)state;
	make();
	fg_broker_client_start(broker);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(fake_mqtt.params.mqtt_version, versions[i]);
		fake_mqtt_end(FG_MQTT_END_SILENT, 0);
		fake_time_pass(60000);
	}
}

/* ---- acknowledging */

static void no_puback_leaves_before_its_commit(void **state)
{
	(void)state;
	online();
	assert_true(arrives("a"));
	assert_int_equal(journal.n_appended, 1);
	assert_true(journal.is_busy); /* handed over at once */
	assert_no_puback_left();
	fake_mqtt_after_read(); /* as each second */
	assert_no_puback_left();
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
	assert_int_equal(stats().messages, 1);
	assert_int_equal(stats().received, 1);
}

static void the_first_message_after_a_commit_waits_for_its_own(void **state)
{
	(void)state;
	online();
	for (int i = 0; i < 5; i++) {
		fake_mqtt.n_flushes = 0;
		assert_true(arrives("a"));
		assert_no_puback_left();
		committed();
		assert_int_equal(fake_mqtt.n_unflushed, 0);
	}
}

static void a_message_that_joins_a_later_batch_holds_the_earlier_pubacks_too(void **state)
{
	(void)state;
	online();
	/* Another source's commit runs, so that ours gathers. */
	journal.has_data = true;
	fg_journal_flush(&journal, 0);
	assert_true(arrives("a"));
	assert_no_puback_left();
	committed(); /* that of the other source */
	assert_no_puback_left();
	fg_journal_flush(&journal, 0);
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
}

static void nothing_is_read_while_a_commit_runs(void **state)
{
	(void)state;
	online();
	assert_true(fake_mqtt_deliver("a", "{}"));
	assert_true(fake_mqtt_deliver("a", "{}")); /* the same turn */
	fake_mqtt_after_read();
	assert_false(arrives("a"));
	assert_false(arrives("a"));
	assert_int_equal(stats().received, 2);
	fake_mqtt.n_resumes = 0;
	committed();
	assert_true(fake_mqtt.n_resumes > 0);
	assert_true(arrives("a"));
}

static void a_batch_that_still_gathers_takes_more(void **state)
{
	(void)state;
	online();
	journal.has_data = true;
	fg_journal_flush(&journal, 0); /* another source's commit runs */
	assert_true(arrives("a"));
	assert_true(arrives("a"));
	committed();
	assert_true(arrives("a")); /* hands over all three */
	assert_no_puback_left();
	assert_false(arrives("a"));
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
	assert_int_equal(stats().messages, 3);
}

static void what_gathers_in_one_turn_is_bounded(void **state)
{
	static char payload[100 * 1024];
	unsigned n = 0;

	(void)state;
	memset(payload, 'x', sizeof(payload) - 1);
	online();
	while (fake_mqtt_deliver("a", payload))
		assert_true(++n < 100);
	assert_in_range(n, 1, 10);
	fake_mqtt_after_read();
	committed();
	assert_true(arrives("a"));
}

static void without_room_in_the_journal_nothing_is_read(void **state)
{
	(void)state;
	online();
	journal.room = ROOM - 1;
	fake_mqtt.n_resumes = 0;
	for (int i = 0; i < 10; i++)
		assert_false(arrives("a"));
	assert_int_equal(fake_mqtt.n_resumes, 0); /* else the loop would spin until there is some */
	assert_int_equal(journal.n_appended, 0);
	journal.room = ROOM;
	committed();
	assert_true(fake_mqtt.n_resumes > 0);
	assert_true(arrives("a"));
}

static void a_message_the_journal_could_not_take_is_not_acknowledged(void **state)
{
	static const char *const topics[] = {"a", "two", "bad"};

	/* Inside TLS, libmosquitto may hand over several packets for one that was allowed. */
	for (size_t i = 0; i < 3; i++) {
		online();
		journal.append_error = -EAGAIN;
		journal.quarantine_error = -EAGAIN;
		fake_mqtt_deliver(topics[i], "{}");
		fake_mqtt_after_read();
		committed();
		assert_no_puback_left();
		assert_null(fake_mqtt.client); /* the broker sends it again in the next session */
		assert_int_equal(journal.n_quarantined, 0);
		assert_false(stats().is_online);
		journal.append_error = journal.quarantine_error = 0;
		fake_time_pass(1000);
		fake_mqtt_connect(65535, 0);
		assert_true(arrives("a"));
		teardown(state);
		setup(state);
	}
	make();
}

static void a_message_no_batch_can_take_goes_into_quarantine(void **state)
{
	(void)state;
	online();
	journal.append_error = -EMSGSIZE;
	assert_true(arrives("a"));
	assert_int_equal(journal.n_quarantined, 1);
	assert_no_puback_left();
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
}

static void a_payload_the_rule_refuses_goes_into_quarantine_first(void **state)
{
	static char payload[3 * MAX_MESSAGE];

	(void)state;
	memset(payload, 'x', sizeof(payload) - 1);
	online();
	assert_true(fake_mqtt_deliver("bad", payload));
	fake_mqtt_after_read();
	assert_int_equal(journal.n_quarantined, 1);
	assert_string_equal(journal.quarantined[0].reason, "it is not JSON");
	assert_string_equal(journal.quarantined[0].topic, "bad");
	assert_string_equal(journal.quarantined[0].link, "");
	assert_int_equal(journal.quarantined[0].whole_size, 3 * MAX_MESSAGE - 1);
	assert_int_equal(journal.quarantined[0].body_size, MAX_MESSAGE);
	assert_no_puback_left();
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
	assert_int_equal(stats().quarantined, 1);
	assert_int_equal(stats().messages, 0);
}

static void what_no_rule_matches_is_acknowledged_at_once(void **state)
{
	(void)state;
	online();
	assert_true(arrives("unmapped"));
	assert_int_equal(fake_mqtt.n_unflushed, 0);
	assert_true(arrives("empty"));
	assert_int_equal(fake_mqtt.n_unflushed, 0);
	assert_int_equal(stats().unmapped, 1);
	assert_int_equal(journal.n_appended, 0);
}

static void what_no_rule_matches_does_not_let_out_the_others_pubacks(void **state)
{
	(void)state;
	online();
	assert_true(fake_mqtt_deliver("a", "{}"));
	assert_true(fake_mqtt_deliver("unmapped", "{}"));
	fake_mqtt_after_read();
	assert_no_puback_left();
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
}

/* ---- the end of a session */

static void a_session_that_ends_takes_its_pubacks_along(void **state)
{
	(void)state;
	online();
	assert_true(arrives("a"));
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	fake_time_pass(1000);
	fake_mqtt_connect(65535, 0);
	/* The next session does not wait for the last one's commit, and its end lets nothing out
	 * early. */
	assert_true(journal.is_busy);
	fake_mqtt.n_flushes = 0;
	assert_true(arrives("a"));
	assert_no_puback_left();
	committed(); /* of the first */
	assert_no_puback_left();
	fg_journal_flush(&journal, 0);
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
}

static void a_refused_subscription_is_told_and_the_session_goes_on(void **state)
{
	(void)state;
	online();
	fake_mqtt.ops->subscribed(fake_mqtt.owner, 1, 0x87);
	assert_true(arrives("a"));
}

/* ---- stopping */

static void stopping_before_a_session_is_immediate(void **state)
{
	make();
	fg_broker_client_start(broker);
	stop();
	assert_int_equal(n_stopped, 1);
	assert_null(fake_mqtt.client);
	fake_time_pass(100000);
	assert_int_equal(fake_mqtt.n_made, 1);
	teardown(state);
	setup(state);
	backing_off();
	stop();
	assert_int_equal(n_stopped, 1);
	fake_time_pass(100000);
	assert_int_equal(fake_mqtt.n_made, 1);
}

static void stopping_waits_for_the_commit_and_acknowledges(void **state)
{
	(void)state;
	online();
	assert_true(arrives("a"));
	stop();
	assert_int_equal(n_stopped, 0);
	assert_no_puback_left();
	assert_false(fake_mqtt.is_disconnecting);
	assert_false(arrives("a")); /* nothing more is read */
	committed();
	assert_int_equal(fake_mqtt.n_unflushed, 0);
	assert_true(fake_mqtt.is_disconnecting);
	assert_int_equal(n_stopped, 0);
	stop(); /* once more changes nothing */
	assert_int_equal(n_stopped, 0);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
	fake_time_pass(100000);
	assert_int_equal(n_stopped, 1);
	assert_int_equal(fake_mqtt.n_made, 1);
}

static void stopping_while_messages_gather_hands_them_over_and_waits(void **state)
{
	(void)state;
	online();
	journal.has_data = true;
	fg_journal_flush(&journal, 0); /* another source's commit runs */
	assert_true(arrives("a"));
	stop();
	committed();
	assert_no_puback_left();
	fg_journal_flush(&journal, 0);
	committed();
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
}

static void stopping_an_idle_session_disconnects(void **state)
{
	(void)state;
	online();
	stop();
	assert_true(fake_mqtt.is_disconnecting);
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_int_equal(n_stopped, 1);
}

static void a_session_that_breaks_while_stopping_is_the_end(void **state)
{
	(void)state;
	online();
	assert_true(arrives("a"));
	stop();
	fake_mqtt_end(FG_MQTT_END_LOST, 0);
	assert_int_equal(n_stopped, 1);
	committed();
	fake_time_pass(100000);
	assert_int_equal(fake_mqtt.n_made, 1);
}

static void whoever_waits_for_the_stop_may_free_the_client(void **state)
{
	(void)state;
	frees_in_stopped = true;
	make();
	stop();
	assert_null(broker);
	online();
	stop();
	fake_mqtt_end(FG_MQTT_END_OWN, 0);
	assert_null(broker);
	assert_int_equal(n_stopped, 2);
}

static void a_client_can_be_freed_in_every_state(void **state)
{
	make();
	teardown(state);
	setup(state);
	make();
	fg_broker_client_start(broker);
	teardown(state);
	setup(state);
	online();
	arrives("a");
	teardown(state);
	setup(state);
	online();
	arrives("a");
	stop();
	teardown(state);
	setup(state);
	backing_off();
	teardown(state);
	setup(state);
	assert_null(fg_broker_client_free(NULL));
}

static void tls_material_is_checked_beforehand(void **state)
{
	struct fg_error err = {0};

	(void)state;
	assert_int_equal(fg_broker_client_check(&config, &err), 0);
	config.url.is_tls = true;
	config.tls.ca = (char *)"/nonexistent/ca.pem";
	assert_int_equal(fg_broker_client_check(&config, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/nonexistent/ca.pem"));
}

/* ---- commands and their answers */

static void an_answer_goes_to_the_desk_and_its_puback_waits(void **state)
{
	(void)state;
	has_commands = true;
	online();
	assert_int_equal(fake_mqtt.n_subscribes, 2);
	assert_string_equal(fake_mqtt.filter, "answer");
	fake_mqtt_deliver("answer", "{}");
	fake_mqtt_after_read();
	assert_int_equal(stats().answers, 1);
	assert_int_equal(stats().messages, 0);
	assert_int_equal(fake_mqtt.n_flushes, 0);
	fg_broker_client_committed(broker, fake_journal_commit(&journal));
	assert_int_equal(fake_mqtt.n_flushes, 1);
}

static void an_answer_the_desk_has_no_room_for_is_given_back(void **state)
{
	(void)state;
	has_commands = true;
	desk_result = -EAGAIN;
	online();
	fake_mqtt_deliver("answer", "{}");
	assert_false(stats().is_online);
	assert_int_equal(n_online, 1);
	assert_int_equal(n_offline, 1);
}

static int publish(unsigned qos, uint64_t tag)
{
	struct fg_mqtt_publish p = {.topic = "cmd/a", .payload = fg_span_str("{}"), .qos = qos};

	return fg_broker_client_publish(broker, &p, tag);
}

static void a_publish_is_told_when_it_is_acknowledged(void **state)
{
	(void)state;
	make();
	assert_int_equal(publish(1, 7), -ENOTCONN);
	fg_broker_client_start(broker);
	fake_mqtt_connect(65535, 0);
	assert_int_equal(publish(1, 7), 0);
	assert_int_equal(publish(1, 8), 0);
	assert_int_equal(publish(1, 0), 0); /* nobody wants to know */
	fake_mqtt_puback(fake_mqtt.publishes[1].packet_id, 0x10);
	assert_int_equal(n_acked, 1);
	assert_int_equal(last_tag, 8);
	assert_int_equal(last_reason, 0x10);
	fake_mqtt_puback(fake_mqtt.publishes[2].packet_id, 0);
	assert_int_equal(n_acked, 1);
	fake_mqtt_puback(fake_mqtt.publishes[0].packet_id, 0);
	assert_int_equal(last_tag, 7);
	assert_int_equal(stats().published, 3);
}

static void what_is_published_stands_behind_pubacks_that_wait(void **state)
{
	(void)state;
	online();
	fake_mqtt_deliver("one", "{}");
	fake_mqtt_after_read();
	assert_int_equal(publish(1, 7), 0);
	assert_int_equal(fake_mqtt.n_flushes, 0);
	fg_broker_client_committed(broker, fake_journal_commit(&journal));
	assert_int_equal(fake_mqtt.n_flushes, 1);
	assert_int_equal(publish(1, 8), 0);
	assert_int_equal(fake_mqtt.n_flushes, 2);
}

static void what_is_published_because_of_a_message_lets_no_puback_out(void **state)
{
	(void)state;
	has_commands = true;
	online();
	fake_mqtt_deliver("one, and a command goes out", "{}");
	assert_int_equal(fake_mqtt.n_publishes, 1);
	assert_int_equal(fake_mqtt.n_flushes, 0);
	fake_mqtt_after_read();
	assert_int_equal(fake_mqtt.n_flushes, 0);
	fg_broker_client_committed(broker, fake_journal_commit(&journal));
	assert_int_equal(fake_mqtt.n_flushes, 1);
}

static void so_many_publishes_wait_and_no_more(void **state)
{
	(void)state;
	online();
	for (uint64_t i = 1; i <= FG_BROKER_PUBLISHES_MAX; i++) {
		fake_mqtt.n_publishes = 0;
		assert_int_equal(publish(1, i), 0);
	}
	fake_mqtt.n_publishes = 0;
	assert_int_equal(publish(1, 9999), -EAGAIN);
	assert_int_equal(publish(1, 0), 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_new_client_connects_nothing),
		TEST(a_session_is_persistent_and_holds_its_writes),
		TEST(a_subscription_that_cannot_be_sent_starts_the_session_anew),
		TEST(an_attempt_that_fails_is_repeated_after_a_pause),
		TEST(a_client_that_cannot_be_made_is_tried_again_later),
		TEST(wrong_credentials_wait_at_least_a_minute),
		TEST(a_broker_without_mqtt_5_is_asked_again_with_3_1_1_at_once),
		TEST(a_broker_that_speaks_5_no_longer_is_believed),
		TEST(silence_makes_the_other_version_tried),
		TEST(no_puback_leaves_before_its_commit),
		TEST(the_first_message_after_a_commit_waits_for_its_own),
		TEST(a_message_that_joins_a_later_batch_holds_the_earlier_pubacks_too),
		TEST(nothing_is_read_while_a_commit_runs),
		TEST(a_batch_that_still_gathers_takes_more),
		TEST(what_gathers_in_one_turn_is_bounded),
		TEST(without_room_in_the_journal_nothing_is_read),
		TEST(a_message_the_journal_could_not_take_is_not_acknowledged),
		TEST(a_message_no_batch_can_take_goes_into_quarantine),
		TEST(a_payload_the_rule_refuses_goes_into_quarantine_first),
		TEST(what_no_rule_matches_is_acknowledged_at_once),
		TEST(what_no_rule_matches_does_not_let_out_the_others_pubacks),
		TEST(a_session_that_ends_takes_its_pubacks_along),
		TEST(a_refused_subscription_is_told_and_the_session_goes_on),
		TEST(stopping_before_a_session_is_immediate),
		TEST(stopping_waits_for_the_commit_and_acknowledges),
		TEST(stopping_while_messages_gather_hands_them_over_and_waits),
		TEST(stopping_an_idle_session_disconnects),
		TEST(a_session_that_breaks_while_stopping_is_the_end),
		TEST(whoever_waits_for_the_stop_may_free_the_client),
		TEST(a_client_can_be_freed_in_every_state),
		TEST(tls_material_is_checked_beforehand),
		TEST(an_answer_goes_to_the_desk_and_its_puback_waits),
		TEST(an_answer_the_desk_has_no_room_for_is_given_back),
		TEST(a_publish_is_told_when_it_is_acknowledged),
		TEST(what_is_published_stands_behind_pubacks_that_wait),
		TEST(what_is_published_because_of_a_message_lets_no_puback_out),
		TEST(so_many_publishes_wait_and_no_more),
	};

	fg_log_open(FG_LOG_STDERR, LOG_CRIT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
