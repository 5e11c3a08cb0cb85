"""Which of the messages sent down have been acknowledged. A Mosquitto plugin is not told of PUBACKs; the broker's
log is, so it is read while somebody wants to know."""
import re

SENDING = re.compile(r"Sending PUBLISH to (.*) \(d0, q1, r0, m(\d+), '(.*)', \.\.\. \(\d+ bytes\)\)$")
PUBACK = re.compile(r"Received PUBACK from (.*) \(Mid: (\d+), RC:\d+\)$")
EVERY_S = 0.02


class Acks:
    def __init__(self, server, log_path):
        self._server, self._path = server, log_path
        self._offset = 0
        self._n_wanted = 0
        self._is_polling = False

    def sent(self, session, topic, on_ack=None):
        """A message with QoS 1 has been handed to the broker for @session; call @on_ack() at its PUBACK."""
        session.sent.append((topic, on_ack))
        if on_ack:
            self._n_wanted += 1
            if not self._is_polling:
                self._is_polling = True
                self._server.link.after(EVERY_S, self._poll)

    def forget(self, session):
        """The session is over: what is not acknowledged now never will be."""
        self.read()
        never = [on_ack for _, on_ack in session.sent] + list(session.unacked.values())
        self._n_wanted -= sum(1 for on_ack in never if on_ack)
        session.sent.clear()
        session.unacked.clear()

    def _poll(self):
        self.read()
        self._is_polling = self._n_wanted > 0
        if self._is_polling:
            self._server.link.after(EVERY_S, self._poll)

    def read(self):
        """Take in what the log has got since last time."""
        by_id = {session.mosquitto_id: session for session in self._server.sessions.values()}
        try:
            with open(self._path, "rb") as f:
                f.seek(self._offset)
                data = f.read()
        except FileNotFoundError:
            return
        end = data.rfind(b"\n") + 1
        self._offset += end
        for line in data[:end].split(b"\n"):
            if b"PUBLISH to" in line:
                found = SENDING.search(line.decode(errors="replace"))
                session = found and by_id.get(found[1])
                if session:
                    self._match(session, int(found[2]), found[3])
            elif b"PUBACK from" in line:
                found = PUBACK.search(line.decode(errors="replace"))
                session = found and by_id.get(found[1])
                on_ack = session and session.unacked.pop(int(found[2]), None)
                if on_ack:
                    self._n_wanted -= 1
                    on_ack()

    def _match(self, session, mid, topic):
        """The broker keeps the order, so it is the oldest with that topic."""
        for i, (sent_topic, on_ack) in enumerate(session.sent):
            if sent_topic == topic:
                del session.sent[i]
                session.unacked[mid] = on_ack
                return
