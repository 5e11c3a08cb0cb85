/*
 * Events about sub-devices that come before IoTDA has said what it calls them, as it does right after a
 * gateway is back: kept until it has, for a few seconds at most. They have been acknowledged by then, since
 * what IoTDA says comes behind them: who is killed in these seconds loses them. IoTDA misses a word about
 * such an upgrade, and calls it failed.
 */
#include <stdlib.h>

#include "huawei.h"

struct hw_ota_early {
	struct hw_ota_early *next;
	size_t size;
	struct hw_event event; /* points into `memory` */
	char memory[];
};

static struct fg_span keep(char **at, struct fg_span text)
{
	struct fg_span copy = fg_span_of(*at, text.size);

	if (text.size > 0)
		memcpy(*at, text.data, text.size);
	*at += text.size;
	return copy;
}

bool hw_ota_is_early(const struct hw *hw, const struct hw_event *event)
{
	return event->device.size > 0 && hw->with.mode == HW_MODE_GATEWAY &&
	       hw->topology.is_waiting;
}

/* How many bytes are kept; *@ret_end is where the next one belongs. */
static size_t bytes_kept(struct hw_ota *ota, struct hw_ota_early ***ret_end)
{
	struct hw_ota_early **at = &ota->early;
	size_t n = 0;

	for (; *at; at = &(*at)->next)
		n += (*at)->size;
	*ret_end = at;
	return n;
}

void hw_ota_keep(struct hw *hw, const struct hw_event *event)
{
	struct hw_ota_early *early = NULL, **end;
	size_t size = sizeof(*early) + event->type.size + event->time.size + event->device.size +
		      event->paras.text.size;
	char *at;

	if (bytes_kept(&hw->ota, &end) + size <= HW_OTA_MAX_EARLY_BYTES)
		early = malloc(size);
	if (!early) {
		hw->host->warn(hw->host_ctx,
			       "more upgrades are ordered than can be kept until IoTDA says which "
			       "sub-devices it has: order them again");
		return;
	}
	at = early->memory;
	early->next = NULL;
	early->size = size;
	early->event = (struct hw_event){
		.service = fg_span_str(HW_SERVICE_OTA),
		.type = keep(&at, event->type),
		.time = keep(&at, event->time),
		.device = keep(&at, event->device),
		.paras = {.type = FG_JSON_OBJECT, .text = keep(&at, event->paras.text)},
		.now_us = event->now_us,
	};
	*end = early;
}

/* There may be a token in it. */
static void forget(struct hw_ota_early *early)
{
	explicit_bzero(early, early->size);
	free(early);
}

void hw_ota_take_early(struct hw *hw)
{
	struct hw_ota_early *early;

	while (hw->topology.is_on && !hw->topology.is_waiting && (early = hw->ota.early)) {
		hw->ota.early = early->next;
		if (hw_ota_take(hw, &early->event) < 0)
			hw->host->warn(hw->host_ctx,
				       "IoTDA has ordered an upgrade that makes no sense here");
		forget(early);
	}
}

void hw_ota_close_early(struct hw_ota *ota)
{
	struct hw_ota_early *next;

	for (; ota->early; ota->early = next) {
		next = ota->early->next;
		forget(ota->early);
	}
}
