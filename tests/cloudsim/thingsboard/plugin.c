#include "cloud.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))
#define DEFAULT_INACTIVITY_MS 600000

static void record_publish(struct tb_cloud *cloud, const struct tb_session *s,
			   const struct mosquitto_evt_message *ed, const char *translated,
			   enum tb_outcome outcome, const char *answer)
{
	struct json_object *line = tb_event(outcome == TB_TAKEN ? "publish" : "rejected", s);

	json_object_object_add(line, "n", json_object_new_int64(cloud->n_publishes));
	json_object_object_add(line, "ms", json_object_new_int64(tb_now_ms()));
	json_object_object_add(line, "session", json_object_new_int64(s->number));
	json_object_object_add(line, "topic", json_object_new_string(ed->topic));
	if (outcome == TB_TAKEN) {
		cloud->n_taken++;
		if (translated) {
			json_object_object_add(line, "payload", json_object_new_string(translated));
			json_object_object_add(line, "protobuf",
					       tb_hex(ed->payload, ed->payloadlen));
		} else {
			json_object_object_add(
				line, "payload",
				json_object_new_string_len(ed->payload ? ed->payload : "",
							   (int)ed->payloadlen));
		}
	} else {
		cloud->n_rejected++;
		json_object_object_add(line, "why",
				       json_object_new_string(tb_outcome_words(outcome)));
		json_object_object_add(line, "answer", json_object_new_string(answer));
		json_object_object_add(line, "size", json_object_new_int64(ed->payloadlen));
		json_object_object_add(line, "payload",
				       tb_printable(ed->payload, ed->payloadlen, 200));
	}
	tb_record(cloud, line);
}

static void forward(struct tb_cloud *cloud, const struct tb_session *s,
		    const struct mosquitto_evt_message *ed, const char *translated)
{
	struct json_object *header = json_object_new_object();

	json_object_object_add(header, "event", json_object_new_string("message"));
	json_object_object_add(header, "n", json_object_new_int64(cloud->n_publishes));
	json_object_object_add(header, "session", json_object_new_int64(s->number));
	json_object_object_add(header, "topic", json_object_new_string(ed->topic));
	if (translated)
		tb_core_tell(cloud, header, translated, strlen(translated));
	else
		tb_core_tell(cloud, header, ed->payload, ed->payloadlen);
}

static int on_publish(int event_id, void *event_data, void *userdata)
{
	struct mosquitto_evt_message *ed = event_data;
	struct tb_cloud *cloud = userdata;
	struct tb_session *s = tb_session_find(cloud, ed->client);
	enum tb_outcome outcome;
	const char *words;
	char *translated = NULL;
	bool is_forwarded = false;
	int code;

	(void)event_id;
	if (ed->client == cloud->core) {
		tb_core_obey(cloud, ed->payload, ed->payloadlen);
		return MOSQ_ERR_ACL_DENIED; /* it goes no further */
	}
	if (!s)
		return MOSQ_ERR_ACL_DENIED;
	cloud->n_publishes++;
	if (cloud->faults.slow_ms > 0)
		usleep((useconds_t)cloud->faults.slow_ms * 1000);

	/* A client that is being thrown out is not listened to any more. */
	outcome =
		s->kick_in ? TB_DROPPED : tb_topics_judge(cloud, s, ed, &is_forwarded, &translated);
	code = tb_outcome_answer(cloud, s, outcome, &words);
	record_publish(cloud, s, ed, translated, outcome, words);
	if (outcome == TB_TAKEN && is_forwarded)
		forward(cloud, s, ed, translated);
	free(translated);
	if (outcome != TB_TAKEN)
		return code;

	if (cloud->faults.lose_ack_at > 0 && --cloud->faults.lose_ack_at == 0)
		return MOSQ_ERR_UNKNOWN;

	/*
	 * Uplinks go nowhere from here. Without another topic the broker would hand
	 * v1/gateway/attributes back to the gateway, which subscribes to it for the way down.
	 */
	mosquitto_free(ed->topic);
	ed->topic = mosquitto_strdup("taken");
	return ed->topic ? MOSQ_ERR_SUCCESS : MOSQ_ERR_NOMEM;
}

static int on_tick(int event_id, void *event_data, void *userdata)
{
	struct tb_cloud *cloud = userdata;

	(void)event_id;
	(void)event_data;
	tb_subdevice_expire(cloud);
	tb_session_kick_due(cloud);
	return MOSQ_ERR_SUCCESS;
}

static void cloud_free(struct tb_cloud *cloud)
{
	while (cloud->sessions)
		tb_session_drop(cloud, cloud->sessions->client);
	tb_core_forget_backlog(cloud);
	tb_limits_free(cloud->limits);
	if (cloud->record_fd >= 0)
		close(cloud->record_fd);
	json_object_put(cloud->devices);
	json_object_put(cloud->known);
	free(cloud->core_id);
	free(cloud);
}

EXPORT int mosquitto_plugin_version(int supported_version_count, const int *supported_versions)
{
	int i;

	for (i = 0; i < supported_version_count; i++)
		if (supported_versions[i] == 5)
			return 5;
	return -1;
}

EXPORT int mosquitto_plugin_init(mosquitto_plugin_id_t *identifier, void **userdata,
				 struct mosquitto_opt *options, int option_count)
{
	const char *devices = NULL, *record_path = NULL, *core = NULL;
	struct tb_cloud *cloud = calloc(1, sizeof(*cloud));
	int i;

	if (!cloud)
		return MOSQ_ERR_NOMEM;
	for (i = 0; i < option_count; i++) {
		if (strcmp(options[i].key, "devices") == 0)
			devices = options[i].value;
		else if (strcmp(options[i].key, "record") == 0)
			record_path = options[i].value;
		else if (strcmp(options[i].key, "core") == 0)
			core = options[i].value;
	}
	cloud->id = identifier;
	cloud->record_fd = -1;
	cloud->backlog_end = &cloud->backlog;
	cloud->inactivity_ms = DEFAULT_INACTIVITY_MS;
	cloud->known = json_object_new_object();
	cloud->devices = devices ? json_object_from_file(devices) : NULL;
	if (!record_path || !core || !json_object_is_type(cloud->devices, json_type_array) ||
	    tb_limits_new(&cloud->limits) < 0) {
		mosquitto_log_printf(MOSQ_LOG_ERR,
				     "cloudsim: plugin_opt_devices must name a JSON array, "
				     "plugin_opt_record a file, plugin_opt_core a client id");
		cloud_free(cloud);
		return MOSQ_ERR_INVAL;
	}
	cloud->core_id = strdup(core);
	tb_subdevice_recall(cloud, record_path);
	cloud->record_fd = open(record_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
	if (!cloud->core_id || cloud->record_fd < 0) {
		cloud_free(cloud);
		return MOSQ_ERR_ERRNO;
	}

	*userdata = cloud;
	mosquitto_callback_register(identifier, MOSQ_EVT_BASIC_AUTH, tb_session_on_login, NULL,
				    cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_ACL_CHECK, tb_session_on_access, NULL,
				    cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_MESSAGE, on_publish, NULL, cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_DISCONNECT, tb_session_on_disconnect, NULL,
				    cloud);
	mosquitto_callback_register(identifier, MOSQ_EVT_TICK, on_tick, NULL, cloud);
	return MOSQ_ERR_SUCCESS;
}

EXPORT int mosquitto_plugin_cleanup(void *userdata, struct mosquitto_opt *options, int option_count)
{
	struct tb_cloud *cloud = userdata;

	(void)options;
	(void)option_count;
	if (!cloud)
		return MOSQ_ERR_SUCCESS;
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_BASIC_AUTH, tb_session_on_login, NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_ACL_CHECK, tb_session_on_access, NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_MESSAGE, on_publish, NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_DISCONNECT, tb_session_on_disconnect,
				      NULL);
	mosquitto_callback_unregister(cloud->id, MOSQ_EVT_TICK, on_tick, NULL);
	cloud_free(cloud);
	return MOSQ_ERR_SUCCESS;
}
