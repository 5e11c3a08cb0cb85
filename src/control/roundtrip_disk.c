#include "control/roundtrip_disk.h"

#include <errno.h>

#include "control/client.h"
#include "control/locate.h"
#include "control/scan.h"
#include "journal/record.h"
#include "util/span.h"

/* ---- the daemon */

struct looking {
	const char *link;
	struct fg_daemon_view *view;
};

static int take_status(void *arg, struct fg_json_value object)
{
	const struct looking *l = arg;
	struct fg_daemon_view *v = l->view;
	char what[32], name[128];

	fg_client_text(object, "what", what, sizeof(what));
	fg_client_text(object, "name", name, sizeof(name));
	if (strcmp(what, "journal") == 0) {
		v->next_seq[FG_LANE_MAIN] = fg_client_number(object, "next_seq");
		v->synced_seq[FG_LANE_MAIN] = fg_client_number(object, "synced_seq");
		v->next_seq[FG_LANE_ALARM] = fg_client_number(object, "alarm_next_seq");
		v->synced_seq[FG_LANE_ALARM] = fg_client_number(object, "alarm_synced_seq");
		v->n_quarantined = fg_client_number(object, "quarantine_records");
	} else if (strcmp(what, "link") == 0 && strcmp(name, l->link) == 0) {
		v->has_link = true;
		fg_client_text(object, "state", v->link_state, sizeof(v->link_state));
		fg_client_text(object, "why", v->link_why, sizeof(v->link_why));
	}
	return 0;
}

int fg_daemon_look(const char *state, const char *link, struct fg_daemon_view *ret,
		   struct fg_error *err)
{
	struct looking l = {.link = link, .view = ret};

	*ret = (struct fg_daemon_view){0};
	return fg_client_ask(state, fg_span_str("{\"command\":\"status\"}"), take_status, &l, err);
}

/* ---- the journal */

static bool is_it(const struct fg_disk_search *s, const struct fg_scan_event *e)
{
	struct fg_json_value body, value;
	struct fg_json_fault fault;
	struct fg_record r;

	return fg_record_decode(e->data, e->size_bytes, &r) == 0 && r.kind == FG_TELEMETRY &&
	       fg_span_is(r.device, s->device) && fg_json_check(r.body, &body, &fault) == 0 &&
	       body.type == FG_JSON_OBJECT && fg_json_member(body, fg_span_str(s->key), &value) &&
	       fg_span_is(value.text, s->value);
}

static int look_through(struct fg_disk_search *s, struct fg_scan *scan, uint64_t *ret_seq)
{
	struct fg_scan_event e;
	int r;

	fg_scan_skip_to(scan, s->from_seq);
	while ((r = fg_scan_next(scan, &e)) > 0) {
		if (e.type != FG_SCAN_RECORD || e.first_seq < s->from_seq)
			continue;
		s->from_seq = e.first_seq + 1;
		if (is_it(s, &e)) {
			*ret_seq = e.first_seq;
			return 1;
		}
	}
	return r;
}

int fg_disk_find(struct fg_disk_search *s, uint64_t *ret_seq, struct fg_error *err)
{
	const struct fg_located_lane *lane;
	struct fg_located journal;
	struct fg_scan *scan;
	int r;

	r = fg_locate(s->state, &journal, err);
	if (r < 0)
		return r;
	lane = fg_located_lane(&journal, s->is_alarm ? "alarm" : "main");
	r = lane ? fg_scan_open(lane->fd, &scan, err) : 0;
	if (lane && r == 0) {
		r = look_through(s, scan, ret_seq);
		fg_scan_free(scan);
	}
	fg_located_free(&journal);
	return r;
}
