#include "control/client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/span.h"

static int connect_to(const char *state, struct fg_error *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int n = snprintf(address.sun_path, sizeof(address.sun_path), "%s/control", state);
	int fd, r;

	if (n < 0 || (size_t)n >= sizeof(address.sun_path))
		return fg_error_set(err, -ENAMETOOLONG, "%s: the name is too long for a socket",
				    state);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fg_error_set(err, -errno, "socket: %s", strerror(errno));
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	r = -errno;
	close(fd);
	if (r == -ENOENT || r == -ECONNREFUSED)
		return fg_error_set(
			err, -ENOTCONN,
			"no fieldgate runs with the state directory %s (%s: %s): start it, or "
			"name another with --state",
			state, address.sun_path, strerror(-r));
	if (r == -EACCES)
		return fg_error_set(err, r, "%s: only root and the user fieldgate runs as may",
				    address.sun_path);
	return fg_error_set(err, r, "%s: %s", address.sun_path, strerror(-r));
}

static int send_all(int fd, const char *data, size_t size)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_NOSIGNAL);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		data += n;
		size -= (size_t)n;
	}
	return 0;
}

const char *fg_client_text(struct fg_json_value object, const char *name, char *out,
			   size_t out_size)
{
	struct fg_json_value value;
	struct fg_span raw;

	out[0] = '\0';
	if (!fg_json_member(object, fg_span_str(name), &value))
		return out;
	raw = value.text;
	if (value.type == FG_JSON_STRING)
		raw = fg_span_of(raw.data + 1, raw.size - 2);
	if (raw.size >= out_size)
		return out;
	out[fg_json_unescape(raw, out)] = '\0';
	return out;
}

uint64_t fg_client_number(struct fg_json_value object, const char *name)
{
	struct fg_json_value value;

	if (!fg_json_member(object, fg_span_str(name), &value) || value.type != FG_JSON_INTEGER)
		return 0;
	/* Behind its digits comes what closes the object. */
	return strtoull(value.text.data, NULL, 10);
}

/* Returns 1 at the end of the answer, 0 to go on, or a negative errno. */
static int take_line(const char *line, size_t size,
		     int (*each)(void *arg, struct fg_json_value object), void *arg,
		     struct fg_error *err)
{
	struct fg_json_value object, end;
	struct fg_json_fault fault;
	char text[512];

	if (fg_json_check(fg_span_of(line, size), &object, &fault) < 0 ||
	    object.type != FG_JSON_OBJECT)
		return fg_error_set(err, -EPROTO, "the daemon's answer is not JSON");
	if (fg_json_member(object, fg_span_str("done"), &end))
		return 1;
	if (fg_json_member(object, fg_span_str("error"), &end) &&
	    !fg_json_member(object, fg_span_str("result"), &end))
		return fg_error_set(err, -EPROTO, "%s",
				    fg_client_text(object, "error", text, sizeof(text)));
	return each(arg, object);
}

int fg_client_ask(const char *state, struct fg_span request,
		  int (*each)(void *arg, struct fg_json_value object), void *arg,
		  struct fg_error *err)
{
	FG_CLEANUP(fg_close_p) int fd = connect_to(state, err);
	FG_CLEANUP(fg_free_p) char *line = NULL;
	const struct timeval patience = {.tv_sec = FG_CLIENT_PATIENCE_S};
	bool is_silent;
	size_t capacity = 0;
	FILE *answer;
	ssize_t n;
	int r;

	if (fd < 0)
		return fd;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
	r = send_all(fd, request.data, request.size);
	if (r == 0)
		r = send_all(fd, "\n", 1);
	/* Who is turned away at the door is told why, though nobody took the request. */
	if (r < 0 && r != -EPIPE && r != -ECONNRESET)
		return fg_error_set(err, r, "the daemon does not listen: %s", strerror(-r));
	r = 0;
	answer = fdopen(fd, "r");
	if (!answer)
		return -ENOMEM;
	fd = -1; /* the stream's now */
	while (r == 0 && (n = getline(&line, &capacity, answer)) > 0)
		r = take_line(line, (size_t)n, each, arg, err);
	is_silent = r == 0 && !feof(answer) && (errno == EAGAIN || errno == EWOULDBLOCK);
	fclose(answer);
	if (is_silent)
		return fg_error_set(
			err, -ETIMEDOUT,
			"no answer for %d s; does the daemon hang, or its disk? It may still "
			"do what it was asked for",
			FG_CLIENT_PATIENCE_S);
	if (r == 0)
		return fg_error_set(err, -EPROTO, "the daemon has ended the connection");
	return r == 1 ? 0 : r;
}
