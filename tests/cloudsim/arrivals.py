"""Questions about what has arrived, the same for every cloud."""
import json


class Arrivals:
    """For a cloud that has samples(): [(device, ms or None, key, value)] in order of arrival."""

    def values(self, key, device=None):
        """All values of @key (of @device), in order of arrival."""
        return [v for d, _, k, v in self.samples() if k == key and (device is None or d == device)]

    def duplicates(self):
        """How many samples came again: same device, time, key and value."""
        samples = [(d, ts, k, json.dumps(v)) for d, ts, k, v in self.samples()]
        return len(samples) - len(set(samples))

    def disorder(self, key):
        """[(device, value, value before)] where the first arrivals of the rising @key go down."""
        newest, seen, wrong = {}, set(), []
        for device, _, k, v in self.samples():
            if k != key or (device, v) in seen:
                continue
            seen.add((device, v))
            if device in newest and v < newest[device]:
                wrong.append((device, v, newest[device]))
            newest[device] = max(v, newest.get(device, v))
        return wrong
