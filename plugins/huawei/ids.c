/*
 * What a sub-device is called here and there. Its name here is its node id in IoTDA. Its device id there
 * is what IoTDA says; as long as IoTDA has said nothing, the rule holds: product id, '_' and node id,
 * or with no `product_id` the node id alone.
 */
#include "huawei.h"

static size_t prefix_size(const struct hw *hw)
{
	return hw->with.product_id ? strlen(hw->with.product_id) + 1 : 0;
}

/* By the rule that is the connected device. */
static bool is_own_by_rule(const struct hw *hw, struct fg_span name)
{
	const struct hw_device *device;

	if (!hw_is_by_rule(hw, fg_span_str(hw->with.device_id), name))
		return false;
	device = hw_devices_find(&hw->devices, name);
	return !device || !device->id;
}

bool hw_is_own(const struct hw *hw, const struct fg_message *m)
{
	return hw->with.mode == HW_MODE_DEVICE || fg_span_is(m->device, hw->with.device_id) ||
	       is_own_by_rule(hw, m->device);
}

struct fg_span hw_said_by(const struct hw *hw, const struct fg_message *m)
{
	return hw_is_own(hw, m) ? fg_span_str(hw->with.device_id) : m->device;
}

size_t hw_device_id_size(const struct hw *hw, struct fg_span name)
{
	const struct hw_device *device = hw_devices_find(&hw->devices, name);

	return device && device->id ? strlen(device->id) : prefix_size(hw) + name.size;
}

void hw_put_device_id(const struct hw *hw, struct fg_text *text, struct fg_span name)
{
	const struct hw_device *device = hw_devices_find(&hw->devices, name);

	if (device && device->id) {
		fg_put(text, device->id);
		return;
	}
	if (hw->with.product_id) {
		fg_put(text, hw->with.product_id);
		fg_put(text, "_");
	}
	fg_put_span(text, name);
}

/* Is the id it has been given to another one by IoTDA? */
static bool is_taken(const struct hw *hw, struct fg_span name)
{
	char id[HW_DEVICE_ID_MAX];
	struct fg_text text = fg_text_begin(id, sizeof(id));
	const struct hw_device *device;

	if (hw->devices.n_ids == 0)
		return false;
	hw_put_device_id(hw, &text, name);
	device = hw_devices_find_id(&hw->devices, fg_text_span(&text));
	return device && !fg_span_equal(hw_device_name(device), name);
}

const char *hw_device_name_fault(const struct hw *hw, struct fg_span name)
{
	if (!hw_is_id(name.data, name.size) || hw_device_id_size(hw, name) > HW_DEVICE_ID_MAX)
		return "a device id of IoTDA has at most 128 letters, digits, '_' and '-': give "
		       "the device another name in devices.rename";
	if (is_taken(hw, name))
		return "IoTDA has given the id that it has by the rule of product_id to another "
		       "device: give this one its own node id there, or another name in "
		       "devices.rename";
	return NULL;
}

bool hw_is_by_rule(const struct hw *hw, struct fg_span id, struct fg_span name)
{
	size_t prefix = prefix_size(hw);

	if (id.size != prefix + name.size || memcmp(id.data + prefix, name.data, name.size) != 0)
		return false;
	return prefix == 0 || (memcmp(id.data, hw->with.product_id, prefix - 1) == 0 &&
			       id.data[prefix - 1] == '_');
}

bool hw_device_called(const struct hw *hw, struct fg_span id, struct fg_span *ret)
{
	const struct hw_device *device = hw_devices_find_id(&hw->devices, id);
	size_t prefix = prefix_size(hw);

	*ret = fg_span_str(hw->with.device);
	if (id.size == 0 || fg_span_is(id, hw->with.device_id))
		return true;
	if (hw->with.mode == HW_MODE_DEVICE)
		return false;
	if (device) {
		*ret = hw_device_name(device);
		return true;
	}
	if (id.size <= prefix)
		return false;
	*ret = fg_span_of(id.data + prefix, id.size - prefix);
	device = hw_devices_find(&hw->devices, *ret);
	return hw_is_by_rule(hw, id, *ret) && !(device && device->id);
}
